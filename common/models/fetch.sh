#!/bin/sh
# Downloads a GPT-2 checkpoint from Hugging Face into a folder beside this script, resuming what was cut and checking digests.
# A file appears under its own name only when it is whole and right; until then it is FILE.part.
usage='usage: fetch.sh gpt2 | distilgpt2 | OWNER/NAME
  OWNER/NAME needs SHA256=..., the digest of its model.safetensors, which its page shows under "Files".
  MODEL_URL=... asks a mirror laid out as https://huggingface.co is.'

set -u
# 1: the sentence, with the cure. 2: the exit status, 1 unless said.
die() {
    printf 'fetch.sh: %s\n' "$1" >&2
    exit "${2:-1}"
}

# Revisions are pinned, and so is the SHA-256 of each file. Both models have GPT-2's tokenizer.
merges=1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5
vocab=196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783
tokenizer=merges.txt
[ $# -eq 1 ] || die "$usage" 2
case $1 in
gpt2)
    repository=openai-community/gpt2/resolve/607a30d783dfa663caf39e06633721c8d4cfcd7e
    config=0daed7749b4f02b8f76240d5444551d7b08712dab4d0adb8239c56ba823bb7b4
    weights=248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707
    ;;
distilgpt2)
    repository=distilbert/distilgpt2/resolve/2290a62682d06624634c1f46a6ad5be0f47f38aa
    config=4ec5947c1d59fee6212cdf3b0ec1a53eac02092554c5ff0a733488cbd2c64f3a
    weights=e1ff18884359fe8beb795a5f414feb85a6ce3d929ad019c0d958c039d2b94a1b
    ;;
*/*/* | *[!A-Za-z0-9._/-]* | *..* | [/.-]* | */) die "$usage" 2 ;;
*/*) # the weights' digest is the user's; the small files are known only by what they hold (see `right`)
    repository=$1/resolve/main
    merges='' vocab='' config='' tokenizer=either
    weights=$(printf %s "${SHA256-}" | tr A-F a-f)
    ;;
*) die "$usage" 2 ;;
esac
printf %s "$weights" | grep -Eqx "[0-9a-f]{64}" || die "$1: say SHA256=, the 64 hexadecimal digits of its model.safetensors' digest" 2

command -v curl >/dev/null || die "curl is missing: install it ('make deps' does)"
if command -v sha256sum >/dev/null; then
    sha256() { sha256sum; }
elif command -v shasum >/dev/null; then
    sha256() { shasum -a 256; }
else
    die 'nothing here computes SHA-256: install sha256sum (coreutils) or shasum (perl)'
fi

# Is file 1, to be called 2, what it should be: by its digest 3, or if that is empty by what it holds?
right() {
    if [ -n "$3" ]; then
        [ "$(sha256 <"$1" | cut -d ' ' -f 1)" = "$3" ]
        return
    fi
    case $2:$(tr -d ' \t\r\n' <"$1") in
    config.json:\{*'"model_type":"gpt2"'*\} | vocab.json:\{*\} | tokenizer.json:\{*\} | merges.txt:[!\<]*) ;;
    *) false ;;
    esac
}

# curl of URL 1 into file 2, going on where an earlier try stopped. Leaves the HTTP status in `code`, curl's exit status in `failed`.
download() {
    for try in 1 2 3; do
        failed=0
        code=$(curl -fL "$progress" -C - -o "$2" -w '%{http_code}' "$1") || failed=$?
        case $failed:$code in
        33:* | *:416) rm -f "$2" ;; # what is there cannot be continued: start over
        *:408 | *:429) ;; # the server asks for patience
        0:* | 22:4* | 23:*) return ;; # done, or asking again will not help: no such file, full disk
        esac
        [ "$try" = 3 ] || sleep "$try"
    done
}

# Brings file 1 with digest 2 (or empty) into the folder. Returns failure only where the server lacks a file that is 3: optional.
fetch() {
    file=$folder/$1 url=$base/$1
    if [ -f "$file" ] && right "$file" "$1" "$2"; then
        echo "$1: already here, verified"
        return
    fi
    if ! { [ -f "$file.part" ] && right "$file.part" "$1" "$2"; }; then
        download "$url" "$file.part"
        case $failed:$code:${3-} in
        0:*) ;;
        22:404:optional) return 1 ;;
        22:4*) die "$url: HTTP $code. Check the name and MODEL_URL=" ;;
        23:*) die "$file.part: cannot be written. Make room, then run this again to go on" ;;
        *) die "$url: broke off (HTTP $code, curl's exit $failed). Run this again to go on where it stopped" ;;
        esac
        if ! { [ -f "$file.part" ] && right "$file.part" "$1" "$2"; }; then
            rm -f "$file.part"
            die "$url: not the file expected${2:+ (SHA-256 $2)}, removed. Run this again, or check the name, SHA256= and MODEL_URL="
        fi
    fi
    mv "$file.part" "$file" || die "$file: cannot be written. Check the folder's permissions"
    echo "$1: fetched, verified"
}

folder=$(dirname "$0")/$1
base=${MODEL_URL:-https://huggingface.co}/$repository
progress=-sS
[ -t 2 ] && progress=--progress-bar
mkdir -p "$folder" || die "$folder: cannot be made. Check the permissions of the folder above"
if [ $tokenizer = either ] && ! fetch merges.txt '' optional; then
    fetch tokenizer.json ''
else
    fetch merges.txt "$merges"
    fetch vocab.json "$vocab"
fi
fetch config.json "$config"
fetch model.safetensors "$weights"
echo "$folder is ready"
