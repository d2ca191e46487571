#!/bin/sh
# Asks build/kvcache --serve with the official client, which npm fetches.
# usage: openai.sh BUILD
set -eu
for tool in node npm; do
    command -v $tool >/dev/null || { echo "openai: skipped: $tool is missing"; exit 0; }
done
mkdir -p "$1/openai"
cp tests/openai.mjs "$1/openai/"
(cd "$1/openai" && npm install --silent --no-save --no-audit --no-fund openai@4)
port=${PORT:-18181}
"$1/kvcache" --serve "$port" 2>/dev/null &
server=$!
trap 'kill $server' EXIT
sleep 2
node "$1/openai/openai.mjs" "http://127.0.0.1:$port/v1"
