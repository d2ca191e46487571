# Prints every mutant of a C file, one a line: its line number, the line as it is, and the line as the mutant has it, with tabs between. Left out
# are lines that only allocate, free or report something: verify does not look at them, other tests do.
function rule(from, to)
{
    old[++rules] = from
    new[rules] = to
}
BEGIN {
    rule(" + ", " - "); rule(" - ", " + "); rule(" * ", " + "); rule(" / ", " * "); rule(" % ", " / ")
    rule(" < ", " <= "); rule(" <= ", " < "); rule(" > ", " >= "); rule(" >= ", " > "); rule(" == ", " != ")
    rule(" && ", " || "); rule(" += ", " = "); rule("++", " += 2"); rule(" + 1", ""); rule(" - 1", "")
    rule("first,", "first + 1,"); rule(", n)", ", n - 1)"); rule(" = 0;", " = 1;")
    rule("->k", "->v"); rule("->v", "->k"); rule("->H", "->D"); rule("->D", "->H"); rule("LANES", "(LANES - 1)")
    rule("false", "true"); rule("true", "false")
}
function emit(mutant)
{
    print FNR "\t" $0 "\t" mutant
}
/^ *\/\// || /^[^ ]/ || /tap\.|free|fail|memory_|destroy/ { next }
{
    comment = index($0, "//")
    code = comment ? substr($0, 1, comment - 1) : $0
    rest = substr($0, length(code) + 1)
    for (i = 1; i <= rules; i++)
        for (done = 0; (at = index(substr(code, done + 1), old[i])) > 0; done += at)
            emit(substr(code, 1, done + at - 1) new[i] substr(code, done + at + length(old[i])) rest)
    if (code ~ /^ +[a-z_>.\[\]-]+(\(.*\)| [-+*\/]?= .*);/) { # a call or an assignment, but no declaration
        match(code, /^ +/)
        emit(substr(code, 1, RLENGTH) ";" rest)
    }
}
