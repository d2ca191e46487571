# Tokens a second against users, with and without a prompt cache.
summary = results . "/serve.csv"
axis = "users"
headline = "Throughput against users"
detail = ", mix " . system("awk -F, 'NR == 2 { n = split($0, part, /,(no )?prompt cache,/); split(part[2], rest, \",\"); print rest[2] }' '" . summary . "'")
unit = "tokens/s, all users together"
load "plots/style.gp"
of_serve(i) = strcol("decoder") eq decoder[i] ? column("tokens_per_s") : NaN
set key top left Left reverse textcolor rgb ink samplen 2
set rmargin 4
plot for [i = 1:curves] summary using (column(axis)):(of_serve(i)) with linespoints linestyle i title decoder[i]
