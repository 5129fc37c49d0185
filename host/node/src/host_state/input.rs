//! When somebody last touched the machine.
//!
//! Three witnesses, and the latest touch counts. Terminals: reading one sets its access time, which is what `w` shows, to
//! within eight seconds. Input devices: the kernel counts interrupts of keyboard, mouse and USB controllers, and a counter
//! that grew between two looks is a touch; it is asked only while a desktop session is active, for a desktop's input passes
//! by the terminals. The session files of systemd-logind say whether one is. A USB disk that works looks like a hand on the
//! mouse: an error on the side of the machine's user. Never opens a device. Called by [`super::HostProbe`].

use std::fs::Metadata;
use std::path::Path;
use std::time::SystemTime;

use super::{Roots, Told, Why, entries, name, read};

/// Words in `/proc/interrupts` that stand for hands: PS/2 and laptop keyboards, touchpads, USB controllers.
const INPUT: [&str; 4] = ["i8042", "i2c_hid", "xhci_hcd", "uhci_hcd"];

/// What was seen of input devices so far.
#[derive(Debug, Default)]
pub(super) struct Hands {
    last: Option<Counted>,
}

/// Interrupts of input devices.
#[derive(Clone, Copy, Debug)]
struct Counted {
    total: u64,
    /// When the number was first seen: the last touch is no later than the look before that.
    since: SystemTime,
}

impl Hands {
    pub(super) fn untouched_ms(&mut self, roots: &Roots, now: SystemTime) -> Told<u64> {
        let terminals = last_terminal_use(&roots.dev);
        let desktop = desktop_is_active(&roots.run);
        let devices = desktop.then(|| self.devices(roots, now)).flatten();
        match (terminals, devices, desktop) {
            (Some(one), Some(other), _) => Told::Is(since(one.max(other), now)),
            (_, Some(at), _) => Told::Is(since(at, now)),
            // A desktop without countable devices: terminals alone would say too little.
            (_, None, true) => Told::CannotTell(Why::NoInput),
            (Some(at), None, false) => Told::Is(since(at, now)),
            (None, None, false) => Told::CannotTell(Why::NoInput),
        }
    }

    /// When the devices' counters were first seen as they are now. Counting begins at the first look: whoever was there
    /// before may just have been typing.
    fn devices(&mut self, roots: &Roots, now: SystemTime) -> Option<SystemTime> {
        let total = interrupts(&read(&roots.proc.join("interrupts"))?)?;
        let counted = match self.last {
            Some(last) if last.total == total => last,
            _ => Counted { total, since: now },
        };
        self.last = Some(counted);
        Some(counted.since)
    }
}

/// Milliseconds; 0 for what lies ahead, as after a clock was set back.
fn since(then: SystemTime, now: SystemTime) -> u64 {
    let span = now.duration_since(then).unwrap_or_default();
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The latest access to a terminal: pseudo terminals, and virtual consoles that somebody has logged in on or uses.
fn last_terminal_use(dev: &Path) -> Option<SystemTime> {
    let pseudo = entries(&dev.join("pts")).filter(|path| name(path) != "ptmx");
    let consoles = entries(dev).filter(|path| is_console(name(path)));
    pseudo
        .chain(consoles)
        .filter_map(|path| touched(&path))
        .max()
}

/// `tty1`, not `tty0` (whichever is in front) and not `ttyS0`: a serial line is a machine's.
fn is_console(name: &str) -> bool {
    name.strip_prefix("tty")
        .and_then(|number| number.parse::<u8>().ok())
        .is_some_and(|number| number > 0)
}

fn touched(path: &Path) -> Option<SystemTime> {
    std::fs::symlink_metadata(path)
        .as_ref()
        .ok()
        .map(Metadata::accessed)?
        .ok()
}

/// Whether a session with a seat and a graphical type is active, as systemd-logind writes it down.
fn desktop_is_active(run: &Path) -> bool {
    entries(&run.join("systemd/sessions"))
        .filter(|path| !name(path).ends_with(".ref"))
        .filter_map(|path| read(&path))
        .any(|session| {
            let has = |line: &str| session.lines().any(|there| there == line);
            has("ACTIVE=1") && (has("TYPE=wayland") || has("TYPE=x11") || has("TYPE=mir"))
        })
}

/// The sum over all cores of what `/proc/interrupts` counts for input devices; nothing where none is listed.
fn interrupts(text: &str) -> Option<u64> {
    let mut lines = text
        .lines()
        .filter(|line| INPUT.iter().any(|word| line.contains(word)));
    let first = counts(lines.next()?);
    Some(lines.fold(first, |sum, line| sum.wrapping_add(counts(line))))
}

/// `  1:   9   0   IO-APIC   1-edge   i8042` counts 9.
fn counts(line: &str) -> u64 {
    let (_, columns) = line.split_once(':').unwrap_or_default();
    let numbers = columns
        .split_whitespace()
        .map_while(|word| word.parse::<u64>().ok());
    numbers.fold(0, u64::wrapping_add)
}
