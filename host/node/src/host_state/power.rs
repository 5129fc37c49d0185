//! Mains or battery, as the kernel's power supply class says. Called by [`super::HostProbe`].
//!
//! A battery that is a mouse's or a headset's (`scope` is `Device`) says nothing of the machine. Never writes there.

use std::path::Path;

use super::{Roots, Told, entries, no_file, word};

/// What one supply says of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Supply {
    /// Power comes from outside.
    Mains,
    /// There is a plug, and nothing in it.
    Unplugged,
    /// A battery is being used up.
    Discharging,
    /// It says nothing that matters.
    Other,
}

/// Whether the machine runs on its battery. One without any does not.
pub(super) fn on_battery(roots: &Roots) -> Told<bool> {
    let class = roots.sys.join("class/power_supply");
    if !class.is_dir() {
        return no_file(class);
    }
    let supplies: Vec<Supply> = entries(&class).map(|path| supply(&path)).collect();
    let has = |kind| supplies.contains(&kind);
    // An adapter that gives too little: the battery is used up although something is plugged in. That is mains still.
    Told::Is(!has(Supply::Mains) && (has(Supply::Discharging) || has(Supply::Unplugged)))
}

fn supply(path: &Path) -> Supply {
    let says = |file: &str| word(&path.join(file)).unwrap_or_default();
    if says("scope") == "Device" {
        return Supply::Other;
    }
    match says("type").as_str() {
        "Battery" if says("status") == "Discharging" => Supply::Discharging,
        "Mains" | "USB" | "Wireless" => match says("online").as_str() {
            "" => Supply::Other,
            // A USB port that is not charging is no sign of a plug that was pulled.
            "0" if says("type") == "Mains" => Supply::Unplugged,
            "0" => Supply::Other,
            _ => Supply::Mains,
        },
        _ => Supply::Other,
    }
}
