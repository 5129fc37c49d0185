//! A tar archive (POSIX ustar) that any `tar` unpacks, without anything that differs between two builds: times, owners.

/// How long a name can be in this format without extensions.
const MAX_NAME: usize = 100;
const BLOCK: usize = 512;

/// An archive being written.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
}

impl Archive {
    /// Adds a file; an error where its name is too long.
    pub fn add(&mut self, name: &str, content: &[u8]) -> Result<(), String> {
        if name.len() >= MAX_NAME {
            return Err(format!("the name `{name}` is longer than {MAX_NAME} bytes"));
        }
        let mut header = [0u8; BLOCK];
        let mut put =
            |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, "0000644\0");
        put(108, "0000000\0");
        put(116, "0000000\0");
        put(124, &format!("{:011o}\0", content.len()));
        put(136, "00000000000\0");
        // The sum is made as if it were spaces itself.
        put(148, "        ");
        put(156, "0");
        put(257, "ustar\x0000");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend(header);
        self.bytes.extend(content);
        self.bytes
            .resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        Ok(())
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_as_the_standard_says() {
        let mut archive = Archive::default();
        archive.add("a/b.txt", b"hello").unwrap();
        let bytes = archive.finish();
        assert_eq!(bytes.len(), 4 * BLOCK);
        assert_eq!(&bytes[124..136], b"00000000005\0");
        assert_eq!(&bytes[257..265], b"ustar\x0000");
        let sum = bytes[..BLOCK]
            .iter()
            .map(|&byte| u32::from(byte))
            .sum::<u32>();
        let own = bytes[148..156]
            .iter()
            .map(|&byte| u32::from(byte))
            .sum::<u32>();
        assert_eq!(
            format!("{:06o}\0 ", sum - own + 8 * 32).as_bytes(),
            &bytes[148..156]
        );
        assert_eq!(&bytes[BLOCK..BLOCK + 5], b"hello");
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        assert!(Archive::default().add(&"n".repeat(100), b"").is_err());
    }
}
