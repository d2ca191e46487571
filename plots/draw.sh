#!/bin/sh
# Draws every CSV in RESULTS that a plot exists for into FOLDER, light and dark. What has not been
# measured is left out.
# usage: plots/draw.sh RESULTS FOLDER svg|png
set -eu
results=$1 folder=$2 format=$3
case $results in
*[\'\"\\\`\$]*) echo "plots: $results: gnuplot cannot be told of quotes, \\, \` and \$ in a folder's name: rename it" >&2; exit 1 ;;
esac

# plot CSV: draws plots/PLOT.gp if there is a RESULTS/CSV.csv, and notes that something was drawn.
draw() {
    [ -s "$results/$2.csv" ] || return 0
    for theme in light dark; do
        picture=$folder/$1-$theme.$format
        gnuplot -e "theme = '$theme'; format = '$format'; results = '$results'" "plots/$1.gp" >"$picture.part"
        [ "$format" = png ] || sed -i.plain '/<\/desc>/r plots/page/drawing.xml' "$picture.part"
        mv "$picture.part" "$picture"
        rm -f "$picture.part.plain"
    done
    drawn=yes
}

command -v gnuplot >/dev/null || { echo "plots: gnuplot is missing, run 'make deps'; the CSVs stay in $results" >&2; exit 1; }
mkdir -p "$folder"
drawn='' picture=''
trap '[ -z "$picture" ] || rm -f "$picture.part" "$picture.part.plain"' EXIT
for plot in ttft step memory; do draw $plot summary; done
decoders=$(sed -E -n -f plots/decoders.sed "$results/summary.csv" 2>/dev/null | sort -u | wc -l)
[ "$decoders" -lt 2 ] || draw speedup summary
draw roofline roofline
draw speculate speculate
draw prefix prefix-trace
draw prefix-shares prefix-shares
draw prefix-conversation prefix-conversation-summary
draw prefix-placement prefix-placement-summary
draw snapshot snapshot-summary
draw serve serve
draw serve-passes serve-passes
draw strategies strategies
for plot in step memory; do draw strategies-$plot strategies-summary; done
for script in plots/curve-*.gp; do
    name=$(basename "$script" .gp)
    draw "$name" "curves/${name#curve-}-summary"
done
[ "$drawn" ] || { echo "plots: no CSVs in $results, run 'make bench'" >&2; exit 1; }
echo "plots: $folder/*.$format"
