//! Bad files: each fault gives its finding, at its place, and nothing else; no input takes long or panics.

mod bad_input {
    mod fuzz;
    mod garbage;
    mod meaning;
    mod neighbours;
    mod policy;
    mod reading;
    mod shown;
}
