#!/bin/sh
# Downloads a GPT-2 checkpoint from Hugging Face into a folder beside this script, resuming what was
# cut and checking digests. A file appears under its own name only when it is whole and right; until
# then it is FILE.part.
usage='usage: fetch.sh gpt2 | distilgpt2 | OWNER/NAME
  OWNER/NAME needs SHA256=..., the digest of its model.safetensors, which its page shows under "Files".
  REVISION=... takes that commit of it instead of the latest. SHA256SUMS=FILE, lines as sha256sum prints them, pins the
  other files as well; each file without a digest is said to be unpinned, with its digest.
  MODEL_URL=... asks a mirror laid out as https://huggingface.co is: by https, or by http on this machine.
  PATIENCE=60: seconds after which a connection that brings less than 1 kB/s is given up. MOST_GB=8: the largest weights.'

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
*/*) # the weights' digest is the user's; other files without one are known only by what they hold (see `right`)
    repository=$1/resolve/${REVISION:-main}
    sums=${SHA256SUMS:-/dev/null}
    [ -r "$sums" ] || die "$sums: SHA256SUMS= names no file that can be read" 2
    # The digest of file 1 by SHA256SUMS, empty where it has none.
    pin() {
        awk -v name="$1" '{ file = $2; sub(/^\*/, "", file); if (file == name) { print tolower($1); exit } }' "$sums"
    }
    merges=$(pin merges.txt) vocab=$(pin vocab.json) config=$(pin config.json) tokenizer=either
    weights=$(printf %s "${SHA256-$(pin model.safetensors)}" | tr A-F a-f)
    ;;
*) die "$usage" 2 ;;
esac
printf %s "$weights" | grep -Eqx "[0-9a-f]{64}" || die "$1: say SHA256=, the 64 hexadecimal digits of its model.safetensors' digest" 2

case ${REVISION-} in *[!A-Za-z0-9._-]* | .*) die "$usage" 2 ;; esac
patience=${PATIENCE:-60} most_gb=${MOST_GB:-8}
case $patience$most_gb in *[!0-9]*) die "PATIENCE= and MOST_GB= are whole numbers" 2 ;; esac
# Nothing but https: http only to a mirror on this machine, and no redirection to it.
case ${MODEL_URL:=https://huggingface.co} in
https://*) protocols='=https' ;;
http://127.0.0.1[:/]* | http://localhost[:/]* | http://\[::1\][:/]*) protocols='=http,https' ;;
*) die "MODEL_URL=$MODEL_URL: only https is asked over a network. Name a mirror that begins with https://" 2 ;;
esac

command -v curl >/dev/null || die "curl is missing: install it ('make deps' does)"
if command -v sha256sum >/dev/null; then
    sha256() { sha256sum; }
elif command -v shasum >/dev/null; then
    sha256() { shasum -a 256; }
else
    die 'nothing here computes SHA-256: install sha256sum (coreutils) or shasum (perl)'
fi

# Is file 1, to be called 2, what it should be: by its digest 3, or if that is empty by what it
# holds?
right() {
    if [ -n "$3" ]; then
        [ "$(sha256 <"$1" | cut -d ' ' -f 1)" = "$3" ]
        return
    fi
    case $2:$(tr -d ' \t\r\n' <"$1") in
    config.json:\{*'"model_type":"gpt2"'*\} | vocab.json:\{*\} | tokenizer.json:\{*\} | merges.txt:[!\<]*) ;;
    generation_config.json:\{*\} | tokenizer_config.json:\{*\} | added_tokens.json:\{*\}) ;;
    *) false ;;
    esac
}

# How sure file 1 with digest 2 is: the words for the user.
sureness() {
    if [ -n "$2" ]; then
        echo 'verified'
    else
        echo "unpinned: its SHA-256 is $(sha256 <"$1" | cut -d ' ' -f 1), pin it by SHA256SUMS="
    fi
}

# curl of URL 1 into file 2 of at most 3 bytes, going on where an earlier try stopped. Leaves the
# HTTP status in `code`, curl's exit status in `failed`. The limit holds for a server that does not
# say a length, too: no process may write a longer file.
download() {
    for try in 1 2 3; do
        failed=0
        code=$(ulimit -f $(($3 / 512 + 1)) && curl -fL "$progress" --proto "$protocols" --proto-redir '=https' --max-redirs 5 \
            --connect-timeout "$patience" --speed-limit 1000 --speed-time "$patience" --max-filesize "$3" \
            -C - -o "$2" -w '%{http_code}' "$1") || failed=$?
        case $failed:$code in
        33:* | *:416) rm -f "$2" ;; # what is there cannot be continued: start over
        *:408 | *:429) ;; # the server asks for patience
        0:* | 1:* | 22:4* | 23:* | 47:* | 63:* | 153:*) return ;; # done, or asking again will not help
        esac
        [ "$try" = 3 ] || sleep "$try"
    done
}

# Brings file 1 with digest 2 (or empty) into the folder. Returns failure only where the server
# lacks a file that is 3: optional. Those come before config.json: once that is there, they have
# been asked for.
fetch() {
    file=$folder/$1 url=$base/$1 most=$small
    [ "$1" = model.safetensors ] && most=$((most_gb * 1000000000))
    [ "${3-}" = optional ] && [ -f "$folder/config.json" ] && [ ! -f "$file" ] && return 1
    if [ -f "$file" ] && right "$file" "$1" "$2"; then
        echo "$1: already here, $(sureness "$file" "$2")"
        return
    fi
    if ! { [ -f "$file.part" ] && right "$file.part" "$1" "$2"; }; then
        download "$url" "$file.part" "$most"
        case $failed:$code:${3-} in
        0:*) ;;
        22:404:optional) return 1 ;;
        22:4*) die "$url: HTTP $code. Check the name and MODEL_URL=" ;;
        63:* | 153:*)
            rm -f "$file.part"
            die "$url: larger than $most bytes, removed. Check the name, or for weights raise MOST_GB="
            ;;
        1:* | 47:*) die "$url: leads to a place that is not asked for files (only https, at most 5 redirections). Check MODEL_URL=" ;;
        28:*) die "$url: brought less than 1 kB/s for $patience s. Run this again to go on where it stopped, or raise PATIENCE=" ;;
        23:*) die "$file.part: cannot be written. Make room, then run this again to go on" ;;
        *) die "$url: broke off (HTTP $code, curl's exit $failed). Run this again to go on where it stopped" ;;
        esac
        if ! { [ -f "$file.part" ] && right "$file.part" "$1" "$2"; }; then
            rm -f "$file.part"
            die "$url: not the file expected${2:+ (SHA-256 $2)}, removed. Run this again, or check the name, SHA256= and MODEL_URL="
        fi
    fi
    mv "$file.part" "$file" || die "$file: cannot be written. Check the folder's permissions"
    echo "$1: fetched, $(sureness "$file" "$2")"
}

folder=$(dirname "$0")/$1
base=$MODEL_URL/$repository
small=67108864 # bytes: more than a file beside the weights has, and the most that the programs read
progress=-sS
[ -t 2 ] && progress=--progress-bar
mkdir -p "$folder" || die "$folder: cannot be made. Check the permissions of the folder above"
# tokenizer.json alone decides where there is one; generation_config.json may say where a text ends.
if [ $tokenizer = either ]; then
    fetch tokenizer.json "$(pin tokenizer.json)" optional || {
        fetch merges.txt "$merges"
        fetch vocab.json "$vocab"
        fetch added_tokens.json "$(pin added_tokens.json)" optional
    }
    for name in tokenizer_config.json generation_config.json; do
        fetch $name "$(pin $name)" optional
    done
else
    fetch merges.txt "$merges"
    fetch vocab.json "$vocab"
fi
fetch config.json "$config"
fetch model.safetensors "$weights"
echo "$folder is ready"
