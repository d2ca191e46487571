# Where drafts pay: what a pass over n rows costs, in passes over one row, and how many tokens such
# a pass gives. It pays where the tokens lie above the cost.
summary = results . "/speculate.csv"
axis = "rows"
headline = "Cost of a pass over n rows, and the tokens it gives"
detail = ", context 500. tokens-at-a: n - 1 drafted, each right with chance a"
unit = "in passes over one row"
load "plots/style.gp"
plot for [i = 1:curves] summary using (column(axis)):(of(i, "ratio", "ratio")) with linespoints linestyle i title name_of(i)
