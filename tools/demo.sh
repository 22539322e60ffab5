#!/bin/sh
# Shows the main job on the sample vault: demo.sh BIN, with BIN the folder of the installed command.
# The index goes to a temporary folder; nothing is written into the vault.
set -eu

bin=$1
HOLDFAST_STATE=$(mktemp -d)
HOLDFAST_VAULT=examples/vault
HOLDFAST_BACKGROUND=0
export HOLDFAST_STATE HOLDFAST_VAULT HOLDFAST_BACKGROUND
trap 'rm -rf "$HOLDFAST_STATE"' EXIT
trap 'exit 130' INT TERM

show() {
    printf '\n$ holdfast'
    for word; do
        case $word in
            *[!A-Za-z0-9_./:=-]*) printf " '%s'" "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$bin/holdfast" "$@"
}

echo "The sample vault is $HOLDFAST_VAULT: what one person wrote down in two years, in three languages."
show sync
show recall -k 1 'What is Elin allergic to?'
show recall -k 1 '月曜日が休みの喫茶店はどこですか'
show recall -k 1 'how can acked messages be lost? type:conversation by:assistant until:2025-06'
show status
