//! All integration tests of the program are one binary: linking is what costs time.

mod e2e;
