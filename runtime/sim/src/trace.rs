//! What happened, line by line. Lines are made only when somebody wants them; their hash tells whether
//! two runs of a seed were the same.

use std::fmt::Arguments;

#[derive(Debug, Default)]
pub struct Trace {
    lines: Option<Vec<String>>,
    hash: u64,
}

impl Trace {
    #[must_use]
    pub fn new(keeps_lines: bool) -> Self {
        Self { lines: keeps_lines.then(Vec::new), hash: 0xcbf2_9ce4_8422_2325 }
    }

    #[must_use]
    pub fn is_on(&self) -> bool {
        self.lines.is_some()
    }

    pub fn line(&mut self, text: Arguments<'_>) {
        if let Some(lines) = &mut self.lines {
            let line = text.to_string();
            for byte in line.bytes() {
                self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
            lines.push(line);
        }
    }

    /// The lines, and their hash.
    #[must_use]
    pub fn finish(self) -> (Vec<String>, u64) {
        (self.lines.unwrap_or_default(), self.hash)
    }
}
