// Whether this is built with AddressSanitizer: it takes memory and time of its own, and ends with a
// report, not by a signal, where memory is misused. GCC and clang say it differently.
#ifndef LOCKSTEP_SANITIZED_H
#define LOCKSTEP_SANITIZED_H

#ifdef __has_feature
#    if __has_feature(address_sanitizer)
enum { SANITIZED = 1 };
#    else
enum { SANITIZED = 0 };
#    endif
#elif defined __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

#endif
