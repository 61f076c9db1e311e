#!/bin/sh
# Make a git repository of this example: set-up.sh FOLDER
set -eu
folder=${1:?usage: set-up.sh FOLDER, a new one}
mkdir "$folder"
cd "$(dirname "$0")"
cp -R .gitignore README.md agents announce.py orchestrate.yaml release.py shop tests "$folder/"
cd "$folder"
git init --quiet --initial-branch=main
git add .
git -c user.name=You -c user.email=you@example.org commit --quiet --message "Begin the shop"
