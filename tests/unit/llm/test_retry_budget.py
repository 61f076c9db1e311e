from llm_abstractions.retry_budget import RetryBudget


def taken(budget: RetryBudget, now: float) -> int:
    count = 0
    while budget.take(now):
        count += 1
    return count


def test_ten_retries_are_always_allowed():
    assert taken(RetryBudget(), 0) == 10


def test_a_fifth_of_the_requests_may_be_retries():
    budget = RetryBudget()
    for _ in range(1_000):
        budget.on_request(5)

    assert taken(budget, 5) == 200


def test_what_happened_minutes_ago_hardly_counts():
    budget = RetryBudget()
    for _ in range(1_000):
        budget.on_request(0)
    taken(budget, 0)

    assert taken(budget, 1) <= 2
    assert taken(budget, 1_200) in {9, 10}
