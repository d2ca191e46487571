// eos_token_id, where Hugging Face's generate() looks for it.
#include "common/generate/ends.h"

#include <limits.h>

#include "common/file/file.h"

static status add(const char *dir, const char *name, const json_t *id, ends *out)
{
    const json_int_t value = json_integer_value(id);
    if (!json_is_integer(id) || value < 0 || value > INT_MAX)
        return status_fail("%s/%s: \"eos_token_id\" is neither an id nor a list of ids: correct it",
                           dir, name);
    if (out->n == ENDS_MOST)
        return status_fail("%s/%s: \"eos_token_id\" has more than %d ids: leave some out", dir,
                           name, ENDS_MOST);
    out->ids[out->n++] = (int)value;
    return NULL;
}

static status add_all(const char *dir, const char *name, const json_t *said, ends *out)
{
    status s = NULL;
    if (json_is_null(said))
        return NULL;
    if (!json_is_array(said))
        return add(dir, name, said, out);
    for (size_t i = 0; !s && i < json_array_size(said); i++)
        s = add(dir, name, json_array_get(said, i), out);
    return s;
}

// *found: whether the file speaks of it.
static status read_file(const char *dir, const char *name, ends *out, bool *found)
{
    json_t *root;
    status s = file_read_json(dir, name, &root);
    if (s)
        return s;
    const json_t *said = json_object_get(root, "eos_token_id");
    *found = said != NULL;
    if (said)
        s = add_all(dir, name, said, out);
    json_decref(root);
    return s;
}

status ends_read(const char *dir, int end_of_text, ends *out)
{
    static const char *const FILES[] = {"generation_config.json", "config.json"};
    bool found = false;
    *out = (ends){0};
    for (size_t i = 0; !found && i < sizeof FILES / sizeof *FILES; i++) {
        status s = file_exists(dir, FILES[i]) ? read_file(dir, FILES[i], out, &found) : NULL;
        if (s)
            return s;
    }
    if (!found && end_of_text >= 0)
        out->ids[out->n++] = end_of_text;
    return NULL;
}

bool ends_with(const ends *e, int id)
{
    for (size_t i = 0; i < e->n; i++)
        if (e->ids[i] == id)
            return true;
    return false;
}
