//! Network files that are in order: the examples, what does not change a network, and the format's description.

mod file {
    mod examples;
    mod format;
    mod properties;
    mod selection;
}
