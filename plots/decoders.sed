# Prints the second field of each row of a CSV, behind its header, without quotes (sed -E -n -f).
2,$ {
    s/^("([^"]|"")*"|[^,]*),//
    t second
    : second
    s/^"([^"]*)".*/\1/
    t print
    s/,.*//
    : print
    p
}
