// The one home of the version numbers that --version, reports and digests show.
#ifndef LOCKSTEP_VERSION_H
#define LOCKSTEP_VERSION_H

#define LOCKSTEP_VERSION "0.1.0"

// Raised whenever the arithmetic contract (notes/03-arithmetic.md) changes a bit of any result.
enum { CONTRACT_VERSION = 1 };

#endif
