//! Tokens as a client sees them, and the chance that picks among them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;

/// A token as it travels: upper-case UUID text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TokenText([u8; 36]);

impl TokenText {
    /// Takes the text of a token from an answer.
    pub(crate) fn parse(text: &[u8]) -> anyhow::Result<Self> {
        let text = <[u8; 36]>::try_from(text)
            .with_context(|| format!("a token that is no UUID text: {:?}", String::from_utf8_lossy(text)))?;
        Ok(Self(text))
    }

    /// A well-formed token that nobody issued.
    pub(crate) fn random(chance: &mut Chance) -> Self {
        let (high, low) = (chance.next() & !0xF000 | 0x4000, chance.next() & !(0b11 << 62) | 0b10 << 62);
        let mut text = [b'-'; 36];
        let mut digits = (0..32).map(|at| {
            let half = if at < 16 { high } else { low };
            b"0123456789ABCDEF"[(half >> (60 - at % 16 * 4) & 0xF) as usize]
        });
        for at in (0..36).filter(|at| ![8, 13, 18, 23].contains(at)) {
            text[at] = digits.next().expect("a UUID has 32 digits");
        }
        Self(text)
    }

    /// Its bytes, all ASCII.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// Repeatable chance (splitmix64): enough to pick users and made-up tokens.
pub(crate) struct Chance(u64);

impl Chance {
    /// Starts a series; another `seed` starts another one.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xD6E8_FEB8_6659_FD93).wrapping_add(1))
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// Any of `choices`; `None` of nothing.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let number = self.next().checked_rem(choices.len() as u64)?;
        choices.get(usize::try_from(number).ok()?)
    }
}

/// Tokens that one run minted and another redeems.
#[derive(Clone, Default)]
pub(crate) struct TokenPool(Arc<Mutex<Vec<TokenText>>>);

impl TokenPool {
    /// Adds `count` tokens that nobody minted, for a ceiling to accept.
    pub(crate) fn make_up(&self, count: u64, seed: u64) {
        let mut chance = Chance::new(seed);
        (0..count).for_each(|_| self.put(TokenText::random(&mut chance)));
    }

    /// Adds a token.
    pub(crate) fn put(&self, token: TokenText) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(token);
    }

    /// Takes any token; `None` when all are spent.
    pub(crate) fn take(&self) -> Option<TokenText> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_token_is_an_upper_case_version_four_uuid() {
        let mut chance = Chance::new(7);
        for _ in 0..100 {
            let text = TokenText::random(&mut chance).to_string();
            for (at, byte) in text.bytes().enumerate() {
                match at {
                    8 | 13 | 18 | 23 => assert_eq!(byte, b'-'),
                    14 => assert_eq!(byte, b'4'),
                    19 => assert!(b"89AB".contains(&byte)),
                    _ => assert!(byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte)),
                }
            }
        }
    }
}
