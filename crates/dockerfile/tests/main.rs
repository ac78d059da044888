//! The language from outside: golden folders, properties, speed.

mod language;
