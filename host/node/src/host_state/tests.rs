//! A machine made of files: what the probes say of it.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use super::*;

struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Machine {
        Machine {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A terminal that was last read at this second.
    fn terminal(&self, path: &str, second: u64) {
        self.write(path, "");
        let file = std::fs::File::options()
            .write(true)
            .open(self.path(path))
            .unwrap();
        let times = std::fs::FileTimes::new().set_accessed(at(second));
        file.set_times(times).unwrap();
    }

    fn probe(&self) -> HostProbe {
        HostProbe::new(Roots::under(self.dir.path()))
    }

    fn look(&self) -> HostReport {
        self.probe().look(at(1000))
    }
}

fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(second)
}

#[test]
fn a_machine_that_says_nothing_is_an_obstacle_to_nothing() {
    let report = Machine::new().look();
    let state = report.state(true, false);
    assert_eq!(
        state,
        HostState {
            paused: true,
            ..HostState::default()
        }
    );
    let Told::CannotTell(why) = report.free_memory_mb else {
        panic!("{report:?}")
    };
    assert!(why.to_string().contains("meminfo"), "{why}");
    assert_eq!(report.metered, Told::CannotTell(Why::NoRoute));
}

#[test]
fn this_machine_is_looked_at_without_harm() {
    let report = HostProbe::new(Roots::system()).look(SystemTime::now());
    assert!(report.free_memory_mb.known() > Some(0), "{report:?}");
    let total = total_memory_mb(&Roots::system()).known();
    assert!(total >= report.free_memory_mb.known());
}

#[test]
fn the_latest_touch_of_any_terminal_counts() {
    let machine = Machine::new();
    machine.terminal("dev/pts/0", 400);
    machine.terminal("dev/tty2", 700);
    machine.terminal("dev/pts/ptmx", 999);
    machine.terminal("dev/tty0", 999);
    machine.terminal("dev/ttyS0", 999);
    assert_eq!(machine.look().untouched_ms, Told::Is(300_000));
    machine.terminal("dev/pts/1", 2000);
    assert_eq!(
        machine.look().untouched_ms,
        Told::Is(0),
        "ahead of the clock"
    );
}

#[test]
fn at_a_desktop_a_growing_interrupt_counter_is_a_hand() {
    let machine = Machine::new();
    let devices = |count: u32| {
        let text = format!(
            "     CPU0 CPU1\n  1:  {count}  7  IO-APIC  1-edge  i8042\n  9: {count} 5 acpi\n"
        );
        machine.write("proc/interrupts", &text);
    };
    machine.terminal("dev/pts/0", 10);
    devices(5);
    assert_eq!(
        machine.look().untouched_ms,
        Told::Is(990_000),
        "without a desktop nobody asks the devices"
    );
    machine.write(
        "run/systemd/sessions/2",
        "UID=1000\nACTIVE=1\nTYPE=wayland\n",
    );
    let mut probe = machine.probe();
    let mut look = |second| probe.look(at(second)).untouched_ms;
    assert_eq!(look(1000), Told::Is(0), "counted from the first look on");
    assert_eq!(look(1060), Told::Is(60_000));
    devices(6);
    assert_eq!(look(1065), Told::Is(0));
    assert_eq!(look(1070), Told::Is(5_000));
    machine.write("proc/interrupts", "");
    assert_eq!(look(1075), Told::CannotTell(Why::NoInput));
}

#[test]
fn only_a_machine_without_mains_is_on_battery() {
    let machine = Machine::new();
    let battery = || machine.look().on_battery;
    std::fs::create_dir_all(machine.path("sys/class/power_supply")).unwrap();
    assert_eq!(battery(), Told::Is(false), "a machine without a battery");
    let supply = |name: &str, file: &str, text: &str| {
        machine.write(&format!("sys/class/power_supply/{name}/{file}"), text);
    };
    supply("mouse", "type", "Battery\n");
    supply("mouse", "scope", "Device\n");
    supply("mouse", "status", "Discharging\n");
    assert_eq!(battery(), Told::Is(false), "a mouse's battery");
    supply("BAT0", "type", "Battery\n");
    supply("BAT0", "status", "Discharging\n");
    assert_eq!(battery(), Told::Is(true));
    supply("AC", "type", "Mains\n");
    supply("AC", "online", "1\n");
    assert_eq!(
        battery(),
        Told::Is(false),
        "plugged in, too weak an adapter"
    );
    supply("AC", "online", "0\n");
    assert_eq!(battery(), Told::Is(true));
    supply("ucsi", "type", "USB\n");
    supply("ucsi", "online", "1\n");
    assert_eq!(battery(), Told::Is(false), "charged over USB-C");
}

#[test]
fn what_the_default_routes_interface_costs() {
    let machine = Machine::new();
    let card = |name: &str, file: &str, text: &str| {
        machine.write(&format!("sys/class/net/{name}/{file}"), text);
    };
    let route = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                 wlan0 00000000 0100A8C0 0003 0 0 600 00000000 0 0 0\n\
                 eth0 0000A8C0 00000000 0001 0 0 100 00FFFFFF 0 0 0\n";
    machine.write("proc/net/route", route);
    card("wlan0", "type", "1\n");
    card("wlan0", "ifindex", "3\n");
    card("wlan0", "wireless/x", "");
    card("wlan0", "device/x", "");
    let Told::CannotTell(why) = machine.look().metered else {
        panic!("a Wi-Fi may be either")
    };
    assert!(why.to_string().contains("wlan0"));
    machine.write(
        "run/systemd/netif/leases/3",
        "ADDRESS=192.168.43.7\nVENDOR_SPECIFIC=414e44524f49445f4d455445524544\n",
    );
    assert_eq!(machine.look().metered, Told::Is(true), "a phone's hotspot");

    let better = format!("{route}eth0 00000000 0100A8C0 0003 0 0 100 00000000 0 0 0\n");
    machine.write("proc/net/route", &better);
    card("eth0", "type", "1\n");
    card("eth0", "device/x", "");
    assert_eq!(machine.look().metered, Told::Is(false), "an Ethernet line");
    std::os::unix::fs::symlink(
        "/x/ipheth",
        machine.path("sys/class/net/eth0/device/driver"),
    )
    .unwrap();
    assert_eq!(machine.look().metered, Told::Is(true), "a phone's cable");
}

#[test]
fn a_modem_is_metered_also_where_only_version_6_is_routed() {
    let machine = Machine::new();
    let zero = "0".repeat(32);
    let line = |metric: &str, interface: &str| {
        format!("{zero} 00 {zero} 00 {zero} {metric} 00000001 00000000 00000003 {interface}\n")
    };
    let table = line("ffffffff", "lo") + &line("00000400", "wwan0");
    machine.write("proc/net/ipv6_route", &table);
    machine.write(
        "sys/class/net/wwan0/uevent",
        "DEVTYPE=wwan\nINTERFACE=wwan0\n",
    );
    assert_eq!(machine.look().metered, Told::Is(true));
    machine.write(
        "proc/net/route",
        "../x 00000000 0 0003 0 0 0 00000000 0 0 0\n",
    );
    assert_eq!(machine.look().metered, Told::Is(true), "no name is a path");
}

#[test]
fn the_smallest_limit_on_the_way_up_is_what_there_is() {
    let machine = Machine::new();
    machine.write(
        "proc/meminfo",
        "MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\n",
    );
    let free = || machine.look().free_memory_mb;
    let total = || total_memory_mb(&Roots::under(machine.dir.path()));
    assert_eq!((free(), total()), (Told::Is(8192), Told::Is(16384)));
    machine.write("proc/self/cgroup", "0::/user/app\n");
    machine.write("sys/fs/cgroup/user/app/memory.max", "max\n");
    machine.write("sys/fs/cgroup/user/memory.max", "2000000000\n");
    machine.write("sys/fs/cgroup/user/memory.current", "1500000000\n");
    machine.write(
        "sys/fs/cgroup/user/memory.stat",
        "anon 1\ninactive_file 500000000\n",
    );
    assert_eq!((free(), total()), (Told::Is(1000), Told::Is(2000)));
    machine.write("proc/self/cgroup", "4:memory:/elsewhere\n");
    machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "3000000000\n");
    machine.write("sys/fs/cgroup/memory/memory.usage_in_bytes", "4000000000\n");
    assert_eq!((free(), total()), (Told::Is(0), Told::Is(3000)));
}

#[test]
fn load_is_a_cores_share() {
    let machine = Machine::new();
    let cores = u64::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
    machine.write("proc/loadavg", &format!("{}.05 0 0 1/2 3\n", 3 * cores));
    assert_eq!(machine.look().load_per_mille, Told::Is(3000 + 50 / cores));
    machine.write("proc/loadavg", "busy\n");
    assert!(machine.look().load_per_mille.known().is_none());
}
