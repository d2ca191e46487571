// The one buffer a thread needs for its latest failure.
#include "common/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

status status_fail(const char *format, ...)
{
    static _Thread_local char message[1024];
    char fresh[sizeof message]; // the arguments may point into message
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(fresh, sizeof fresh, format, arguments);
    va_end(arguments);
    for (char *p = fresh; *p;
         p++) // names come from files: whatever they hold, a message stays one line
        *p = (unsigned char)*p < ' ' || *p == 127 ? '?' : *p;
    memcpy(message, fresh, sizeof message);
    return message;
}
