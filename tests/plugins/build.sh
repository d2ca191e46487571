# shellcheck shell=bash
# Sourced by the scripts that build changed copies of the cached decoder. OUT and PLUGIN_COMPILE
# come from the Makefile.

# Builds DIR/plugin.so from the sources in DIR/kvcache and DIR/common. parts.a is an archive: of the
# row operations only those that DIR does not have are taken from it. The compiler's messages go to
# DIR/log.
build_plugin() { # DIR [FLAGS]
    sh -c "$PLUGIN_COMPILE ${2-} -Dkvcache_decoder=lockstep_decoder -MF /dev/null -shared -o '$1/plugin.so' $(find "$1" -name '*.c' | tr '\n' ' ') '$OUT/pic/parts.a' -lm" \
        >"$1/log" 2>&1
}

# An empty DIR with the decoder in it.
start_copy() { # DIR
    rm -rf "$1" && mkdir -p "$1"/{kvcache,common/{base,file,kv/keep,math,model,number}} && cp kvcache/decoder.c "$1/kvcache"
}
