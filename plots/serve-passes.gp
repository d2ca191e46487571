# What many users gain where every pass has one row of each, by context: K and V, which each has
# for himself, take the place of the weights, which are read once for all.
summary = results . "/serve-passes.csv"
axis = "users"
headline = "Throughput of n users, in that of one"
detail = ", one row of each user in a pass. Grey: n"
unit = "of one user's tokens/s"
load "plots/style.gp"
of_pass(i) = strcol("decoder") eq decoder[i] ? column("of_one") : NaN
set key top left Left reverse textcolor rgb ink samplen 2
set rmargin 4
plot [1:last] x with lines linecolor rgb faint linewidth 8 notitle, \
     for [i = 1:curves] summary using (column(axis)):(of_pass(i)) with linespoints linestyle i title decoder[i]
