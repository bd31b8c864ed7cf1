//! Memory that is wiped when it is done with, for types that don't do it themselves.
//!
//! The value lies on the heap, so that moving its owner leaves no copy behind.

use std::mem::MaybeUninit;

use zeroize::Zeroize;

/// A value whose bytes are overwritten when it is dropped.
pub struct Wiped<T>(Box<MaybeUninit<T>>);

impl<T> Wiped<T> {
    /// A type that owned something would have to be dropped, not only wiped.
    const OWNS_NOTHING: () = assert!(!std::mem::needs_drop::<T>());

    /// Takes the value that `make` gives.
    pub fn new(make: impl FnOnce() -> T) -> Wiped<T> {
        const { Self::OWNS_NOTHING };
        let mut place = Box::new(MaybeUninit::uninit());
        place.write(make());
        Wiped(place)
    }

    /// The value.
    pub fn get(&self) -> &T {
        // SAFETY: `new` is the only constructor and writes the value; nothing but `drop` overwrites it.
        unsafe { self.0.assume_init_ref() }
    }
}

impl<T> Drop for Wiped<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_there_until_it_is_wiped_padding_and_all() {
        #[repr(C)]
        struct Padded(u8, u64);
        let mut wiped = Wiped::new(|| Padded(7, 8));
        assert_eq!((wiped.get().0, wiped.get().1), (7, 8));
        wiped.0.zeroize();
        // Zeros are a value of this type, so it may be looked at once more.
        assert_eq!((wiped.get().0, wiped.get().1), (0, 0));
    }

    #[test]
    fn it_may_be_read_from_several_threads() {
        let wiped = Wiped::new(|| [3u8; 64]);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| assert_eq!(*wiped.get(), [3; 64]));
            }
        });
    }
}
