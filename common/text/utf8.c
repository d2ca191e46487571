// Text from outside as JSON, which holds nothing but UTF-8: names of files need not be that.
#include "common/text/utf8.h"

#include <stdbool.h>
#include <string.h>

#include "common/base/memory.h"

json_t *utf8_string(const char *s, size_t n)
{
    const char replacement[] = "\xef\xbf\xbd"; // U+FFFD
    char *clean = memory_array(n + 1, sizeof replacement - 1);
    if (!clean)
        return NULL;
    size_t length = 0;
    for (size_t i = 0; i < n;) {
        int found = utf8_sequence(s + i, n - i);
        size_t taken = (size_t)(found > 0 ? found : -found);
        memcpy(clean + length, found > 0 ? s + i : replacement,
               found > 0 ? taken : sizeof replacement - 1);
        length += found > 0 ? taken : sizeof replacement - 1;
        i += taken;
    }
    json_t *string = json_stringn(clean, length);
    memory_free(clean);
    return string;
}

void utf8_clean(char *text, size_t n)
{
    for (size_t i = 0; i < n;) {
        int length = utf8_sequence(text + i, n - i);
        bool control = ((unsigned char)text[i] < 0x20 && text[i] != '\n') || text[i] == 0x7f;
        size_t taken = (size_t)(length > 0 ? length : -length);
        if (length < 0 || control)
            memset(text + i, '?', taken);
        i += taken;
    }
}

json_t *utf8_text(const char *s)
{
    return s && *s ? utf8_string(s, strlen(s)) : json_null();
}

int utf8_set_new(json_t *object, const char *key, json_t *value)
{
    json_t *clean = utf8_string(key, strlen(key));
    int failed = -1;
    if (clean)
        failed = json_object_set(object, json_string_value(clean), value);
    json_decref(clean);
    json_decref(value);
    return failed;
}
