// SPDX-License-Identifier: Apache-2.0
//! Roots from literals: what wins, what is refused, and what systemd's own tools make of them.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use kiln::tree::{Kind, TreePath};
use kiln_init::handoff::{Phase, Template};

use crate::support::{
    qemu::repository,
    root::{Fixture, PackageFiles, dump, package, text, write_out},
};

fn kind(root: &kiln::rootfs::Root, path: &str) -> Option<String> {
    let inode = root.tree.get(&TreePath::new(path).expect("a path"))?;
    Some(match &inode.kind {
        Kind::Symlink(target) => format!("-> {target}"),
        other => other.noun().to_owned(),
    })
}

#[test]
fn the_smallest_root_has_what_scripts_would_have_made() {
    let root = Fixture::new().root();
    let tree = dump(&root.tree);
    for line in [
        "0755 0:0 // [kiln (root directory)]",
        "1777 0:0 /tmp/ [package 'base-files']",
        "0640 0:42 /etc/shadow ",
        "0444 0:0 /etc/machine-id ",
        "0777 0:0 /etc/mtab -> ../proc/self/mounts [kiln (settings)]",
        "0777 0:0 /etc/systemd/system/default.target -> /usr/lib/systemd/system/multi-user.target [kiln (units)]",
        "0777 0:0 /etc/systemd/system/multi-user.target.wants/kiln-ready.service -> /usr/lib/systemd/system/kiln-ready.service [kiln (units)]",
        "0755 0:0 /usr/lib/kiln/kiln-init ",
        "0755 0:0 /srv/ [kiln (var)]",
        "0777 0:0 /var/run -> ../run [kiln (var)]",
        "1777 0:0 /var/tmp/ [kiln (var)]",
    ] {
        assert!(tree.lines().any(|found| found.starts_with(line)), "{line} is not in\n{tree}");
    }
    // Left as the mount point that it is.
    assert!(tree.contains(" /boot/ ") && !tree.contains(" /boot/v"), "{tree}");
    assert!(!tree.contains(".efi"), "{tree}");
    assert_eq!(root.kernel.release, "6.12.1");
    assert_eq!(root.kernel.image.to_vec().expect("bytes"), b"kernel");
    assert_eq!(root.boot.loader.to_vec().expect("bytes"), b"loader");
    assert_eq!(root.os_release, "ID=debian\nIMAGE_ID=\"quickstart-lb\"\nIMAGE_VERSION=\"7\"\n");
    assert_eq!(text(&root.tree, "/etc/hostname"), "lb\n");
    let handoff = text(&root.tree, "/usr/lib/kiln/boot.json");
    assert_eq!(
        serde_json::from_str::<kiln_init::handoff::Handoff>(&handoff).expect("JSON"),
        root.handoff
    );
    let uuid = root.handoff.var_partition.expect("a state partition");
    assert!(text(&root.tree, "/etc/fstab").contains(&format!("PARTUUID={uuid} /var ext4 ")));
    assert!(text(&root.tree, "/usr/lib/repart.d/50-var.conf").contains(&format!("UUID={uuid}\n")));
}

#[test]
fn the_order_of_packages_does_not_matter() {
    let fixture = Fixture::new().package(package("a").file("lib/x", "x")).package(
        package("z").directory("usr/lib/x.d", 0o700).hard_link("usr/lib/y", "usr/lib/z-file"),
    );
    let mut fixture = fixture;
    let z = fixture.packages.pop().expect("z");
    let mut with_target = package("z").file("usr/lib/z-file", "z").done();
    with_target.entries.extend(z.entries);
    fixture.packages.push(with_target);
    let forward = dump(&fixture.root().tree);
    fixture.packages.reverse();
    assert_eq!(dump(&fixture.root().tree), forward);
    // Through the symlink of base-files.
    assert!(forward.contains(" /usr/lib/x "), "{forward}");
}

#[test]
fn owners_are_mapped_by_name_and_special_bits_stay() {
    let root = Fixture::new()
        .package(package("tool").file("usr/bin/tool", "x").with(0o2755, 42, "shadow"))
        .package(
            package("bus")
                .file("usr/lib/sysusers.d/bus.conf", "u messagebus - 'Message Bus'\n")
                .file("usr/lib/dbus-1.0/dbus-daemon-launch-helper", "x")
                .file("usr/lib/bus", "x")
                .with(0o640, 104, "messagebus"),
        )
        .root();
    let tree = dump(&root.tree);
    for line in [
        "2755 0:42 /usr/bin/tool ",
        "4754 0:199 /usr/lib/dbus-1.0/dbus-daemon-launch-helper ",
        "0640 0:199 /usr/lib/bus ",
    ] {
        assert!(tree.contains(line), "{line} is not in\n{tree}");
    }
    assert!(
        text(&root.tree, "/etc/passwd")
            .contains("messagebus:x:199:199:Message Bus:/:/usr/sbin/nologin\n")
    );
    let refusal =
        Fixture::new().package(package("a").file("usr/a", "x").with(0o640, 999, "nobody-knows"));
    assert_eq!(
        refusal.refusal(),
        "'/usr/a' of package 'a' belongs to group 'nobody-knows', which no package and no profile declares"
    );
}

#[test]
fn who_may_log_in_has_a_home_and_an_ssh_server_takes_keys_only() {
    let server = package("openssh-server").file("usr/sbin/sshd", "x").file(
        "usr/lib/systemd/system/ssh.service",
        "[Service]\nExecStart=/usr/sbin/sshd -D\n[Install]\nWantedBy=multi-user.target\n",
    );
    let users = "users:\n  \
                 ops: { uid: 1000, home: /var/home/ops, shell: /bin/sh, admin: true }\n  \
                 etcd: { uid: 454, home: /var/lib/etcd }\n";
    let root = Fixture::new().package(server).profile(users).root();
    let recipe = text(&root.tree, "/usr/lib/tmpfiles.d/kiln-var.conf");
    assert!(recipe.contains("d /var/home/ops 0700 1000 1000 -\n"), "{recipe}");
    assert!(!recipe.contains("etcd"), "{recipe}");
    let config = text(&root.tree, "/etc/ssh/sshd_config");
    for line in [
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u",
        "HostKey /var/lib/kiln/ssh/ssh_host_ed25519_key",
    ] {
        assert!(config.lines().any(|found| found == line), "{line} is not in\n{config}");
    }
    let tree = dump(&root.tree);
    for wants in ["multi-user.target.wants", "ssh.service.requires"] {
        let link = format!("/etc/systemd/system/{wants}/kiln-ssh.service ");
        assert!(tree.contains(&link), "{link} is not in\n{tree}");
    }
    let without = dump(&Fixture::new().root().tree);
    assert!(!without.contains("sshd_config") && !without.contains("kiln-ssh"), "{without}");
}

#[test]
fn two_packages_with_one_file_are_refused_unless_one_replaces_the_other() {
    let with = |second| Fixture::new().package(package("a").file("usr/x", "a")).package(second);
    assert_eq!(
        with(package("b").file("usr/x", "b")).refusal(),
        "'/usr/x' is a file of package 'a', but a file of package 'b'"
    );
    let root = with(package("b").file("usr/x", "b").replaces("a")).root();
    assert_eq!(text(&root.tree, "/usr/x"), "b");
    let root = with(package("A").file("usr/x", "A").replaces("a")).root();
    assert_eq!(text(&root.tree, "/usr/x"), "A");
    assert_eq!(
        with(package("b").directory("usr/x", 0o755)).refusal(),
        "'/usr/x' is a file of package 'a', but a directory of package 'b'"
    );
    assert_eq!(
        with(package("b").hard_link("usr/y", "usr/nowhere")).refusal(),
        "'/usr/y' of package 'b' is a hard link to '/usr/nowhere', which does not exist"
    );
}

#[test]
fn overlays_win_only_where_the_profile_says_so() {
    let fixture = |profile: &str| {
        Fixture::new()
            .package(package("app").file("etc/app.conf", "package"))
            .overlay("one", "etc/app.conf", "one")
            .overlay("one", "etc/other", "one")
            .overlay("two", "etc/other", "two")
            .overlay("two", "usr/lib/tool.sh", "#!/bin/sh\n")
            .profile(profile)
    };
    assert_eq!(
        fixture("overlays: [one, two]\n").refusal(),
        "'/etc/app.conf' is a file of package 'app', but a file of overlay 'one'; \
         list the path under 'replace' to take the latter"
    );
    let root = fixture("overlays: [one, two]\nreplace: [/etc/app.conf]\n").root();
    assert_eq!(text(&root.tree, "/etc/app.conf"), "one");
    assert_eq!(text(&root.tree, "/etc/other"), "two");
    assert!(dump(&root.tree).contains("0755 0:0 /usr/lib/tool.sh "));
}

#[test]
fn what_is_generated_does_not_silently_replace_what_people_wrote() {
    let fixture =
        |profile: &str| Fixture::new().overlay("one", "etc/hosts", "mine\n").profile(profile);
    assert_eq!(
        fixture("overlays: [one]\n").refusal(),
        "'/etc/hosts' is a file of overlay 'one', but a file of kiln (settings); \
         remove it, or list the path under 'replace' to keep it"
    );
    let root = fixture("overlays: [one]\nreplace: [/etc/hosts]\n").root();
    assert_eq!(text(&root.tree, "/etc/hosts"), "mine\n");
}

#[test]
fn templates_are_rendered_at_their_time() {
    let root = Fixture::new()
        .overlay("one", "etc/a.tera", "{{ role }}\n")
        .overlay("one", "etc/b.j2", "{{ hostname }}\n")
        .overlay("one", "etc/d/c.j2.tera", "{{ role }} {% raw %}{{ network.interface }}{% endraw %}\n")
        .profile(
            "overlays: [one]\ngroups: { app: { gid: 700 } }\n\
             files: { /etc/d/e: { boot-template: '{{ vars.priority }}', mode: 0640, group: app } }\n",
        )
        .root();
    assert_eq!(text(&root.tree, "/etc/a"), "lb\n");
    assert_eq!(text(&root.tree, "/usr/lib/kiln/templates/etc/b.j2"), "{{ hostname }}\n");
    assert_eq!(
        text(&root.tree, "/usr/lib/kiln/templates/etc/d/c.j2"),
        "lb {{ network.interface }}\n"
    );
    assert_eq!(kind(&root, "/etc/b"), None);
    assert_eq!(kind(&root, "/etc/d").as_deref(), Some("directory"));
    let template = |target: &str, mode, gid, phase| Template {
        target: target.to_owned(),
        mode,
        uid: 0,
        gid,
        phase,
    };
    assert_eq!(
        root.handoff.templates,
        [
            template("/etc/b", 0o644, 0, Phase::Initramfs),
            template("/etc/d/c", 0o644, 0, Phase::Network),
            template("/etc/d/e", 0o640, 700, Phase::Initramfs),
        ]
    );
}

#[test]
fn a_template_for_a_packages_file_must_be_allowed_and_takes_its_place() {
    let fixture = |profile: &str| {
        Fixture::new()
            .package(package("app").file("etc/app.conf", "default"))
            .overlay("one", "etc/app.conf.j2", "{{ hostname }}")
            .profile(profile)
    };
    assert!(
        fixture("overlays: [one]\n")
            .refusal()
            .starts_with("'/etc/app.conf' is a file of package 'app'")
    );
    let root = fixture("overlays: [one]\nreplace: [/etc/app.conf]\n").root();
    assert_eq!(kind(&root, "/etc/app.conf"), None);
}

#[test]
fn units_that_wait_for_the_network_start_after_its_templates() {
    let unit = "[Unit]\nAfter=network-online.target\n[Install]\nWantedBy=multi-user.target\n";
    let fixture = Fixture::new()
        .package(package("app").file("usr/lib/systemd/system/app.service", unit))
        .overlay("one", "etc/app.conf.j2", "{{ network.address }}");
    let root = fixture
        .profile("overlays: [one]\nservices: { enable: [app.service], ready: [app.service] }\n")
        .root();
    let unit = text(&root.tree, "/usr/lib/systemd/system/kiln-network.service");
    assert!(unit.contains("\nBefore=app.service\n"), "{unit}");
}

#[test]
fn what_packages_keep_in_var_becomes_a_recipe() {
    let root = Fixture::new()
        .package(
            package("app")
                .directory("var/lib/app", 0o700)
                .file("var/lib/app/seed", "seed")
                .directory("var/log/app", 0o755)
                .file("usr/lib/tmpfiles.d/app.conf", "d /var/log/app 0750 root adm -\n"),
        )
        .profile("files: { /var/lib/mine: { directory: true, mode: 0750, group: adm } }\n")
        .root();
    assert_eq!(
        text(&root.tree, "/usr/lib/tmpfiles.d/kiln-var.conf"),
        "# What packages and overlays have in /var.\n\
         d /var/lib 0755 0 0 -\n\
         d /var/lib/app 0700 0 0 -\n\
         C /var/lib/app/seed 0644 0 0 - /usr/share/factory/var/lib/app/seed\n\
         d /var/lib/mine 0750 0 4 -\n\
         d /var/log 0755 0 0 -\n"
    );
    assert_eq!(text(&root.tree, "/usr/share/factory/var/lib/app/seed"), "seed");
    assert_eq!(kind(&root, "/var/lib/app"), None);
}

#[test]
fn names_that_do_not_exist_are_refused_with_a_suggestion() {
    for (profile, message) in [
        (
            "services: { enable: [hapoxy.service] }\n",
            "'services.enable' names unit 'hapoxy.service', which no package and no overlay has; did you mean 'haproxy.service'?",
        ),
        (
            "services: { ready: [zzz.service] }\n",
            "'services.ready' names unit 'zzz.service', which no package and no overlay has",
        ),
        (
            "services: { enable: [multi-user.target] }\n",
            "unit 'multi-user.target' cannot be enabled: '/usr/lib/systemd/system/multi-user.target' has no [Install] section, so something else must start it",
        ),
        (
            "services: { enable: ['tty@.service'] }\n",
            "unit 'tty@.service' is a template without DefaultInstance: enable 'tty@INSTANCE.service'",
        ),
        (
            "kernel: { package: linux-image, modules: [ip_vz] }\n",
            "'kernel.modules' names module 'ip_vz', which kernel 6.12.1 does not have; did you mean 'ip_vs'?",
        ),
        (
            "firewall: { allow: [icmp] }\n",
            "the packages hold no nft for the rules under 'firewall'; it comes with package 'nftables'",
        ),
    ] {
        let install = "[Install]\nWantedBy=multi-user.target\n";
        let fixture = Fixture::new()
            .package(
                package("haproxy")
                    .file("usr/lib/systemd/system/haproxy.service", install)
                    .file("usr/lib/systemd/system/tty@.service", install)
                    .file("usr/lib/modules/6.12.1/modules.builtin", "kernel/net/ip_vs.ko\n"),
            )
            .profile(profile);
        assert_eq!(fixture.refusal(), message);
    }
}

#[test]
fn an_image_has_one_kernel() {
    let mut fixture = Fixture::new();
    let other = package("linux-image-2").file("boot/vmlinuz-6.12.2", "other");
    fixture.packages.push(other.done());
    assert_eq!(fixture.refusal(), "expected one kernel in the packages, found 6.12.1, 6.12.2");
    fixture.packages.retain(|package| !package.name.starts_with("linux-image"));
    assert_eq!(fixture.refusal(), "expected one kernel in the packages, found none");
}

/// `systemctl enable` makes the same symlinks.
#[test]
fn units_are_enabled_as_systemctl_does_it() {
    let files = [
        (
            "a.service",
            "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target b.target\nAlias=first.service\nAlso=a.socket\n",
        ),
        (
            "a.socket",
            "[Socket]\nListenStream=1\n[Install]\nWantedBy=sockets.target\nRequiredBy=x.service\n",
        ),
        (
            "t@.service",
            "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=getty-%i.target\nDefaultInstance=one\n",
        ),
        ("real.service", "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=\\\n  c.target\n"),
    ];
    let mut units = package("units").symlink("usr/lib/systemd/system/nick.service", "real.service");
    for (name, text) in files {
        units = units.file(&format!("usr/lib/systemd/system/{name}"), text);
    }
    let enable = ["a.service", "t@.service", "t@two.service", "nick.service"];
    let root = Fixture::new()
        .package(units)
        .profile(&format!("services: {{ enable: ['{}'] }}\n", enable.join("', '")))
        .root();

    let folder = tempfile::tempdir().expect("a folder");
    write_out(&root.tree, "/usr/lib/systemd", folder.path());
    fs::create_dir_all(folder.path().join("etc/systemd/system")).expect("a folder");
    let mut systemctl = Command::new("systemctl");
    let root_option = format!("--root={}", folder.path().display());
    systemctl.arg(root_option).args(["-q", "enable"]).args(enable);
    systemctl.args(
        ["init", "interfaces", "network", "ready", "recheck", "state"]
            .map(|it| format!("kiln-{it}.service")),
    );
    let output = systemctl.output().expect("systemctl (package systemd) is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let mut theirs = BTreeMap::new();
    links(&folder.path().join("etc/systemd/system"), "/etc/systemd/system", &mut theirs);
    let ours: BTreeMap<String, String> = root
        .tree
        .subtree(&TreePath::new("/etc/systemd/system").expect("a path"))
        .filter(|(path, _)| path.file_name() != "default.target")
        .filter_map(|(path, inode)| match &inode.kind {
            Kind::Symlink(target) => Some((path.to_string(), target.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(ours, theirs);
}

/// The symlinks below a folder, by their path in the image; `/lib` is `/usr/lib`.
fn links(folder: &Path, path: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let name = format!("{path}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().expect("a type").is_dir() {
            links(&entry.path(), &name, found);
        } else {
            let target = fs::read_link(entry.path()).expect("a symlink");
            let target = target.to_string_lossy();
            let merged = if target.starts_with("/lib/") {
                format!("/usr{target}")
            } else {
                target.into_owned()
            };
            found.insert(name, merged);
        }
    }
}

/// systemd-sysusers reads the same accounts from the same files.
#[test]
fn accounts_are_those_of_systemd_sysusers() {
    let lines = "g adm 4\ng tty 5\ng video -\nu root 0 'Super User' /root /bin/sh\nu mail 8 - /var/mail\n\
                 u sync 4:65534 - /bin /bin/sync\ng nogroup 65534\nu net - \"Net, Work\"\nm mail tty\nm net video\nm late later\n";
    let root = Fixture::new()
        .package(
            package("accounts")
                .file("usr/lib/sysusers.d/accounts.conf", lines)
                .file("usr/bin/sh", "")
                .file("usr/bin/sync", ""),
        )
        .root();
    let folder = tempfile::tempdir().expect("a folder");
    write_out(&root.tree, "/usr/lib/sysusers.d", folder.path());
    fs::create_dir_all(folder.path().join("etc")).expect("a folder");
    let output = Command::new("systemd-sysusers")
        .arg(format!("--root={}", folder.path().display()))
        .output()
        .expect("systemd-sysusers (package systemd) is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // Ids that nobody fixes are ours; everything else is equal. `nobody` is always ours.
    let fields = |text: &str, dynamic: &[&str]| -> Vec<Vec<String>> {
        let lines = text.lines().filter(|line| !line.starts_with("nobody:"));
        let mut lines: Vec<Vec<String>> = lines
            .map(|line| line.split(':').map(str::to_owned).collect::<Vec<String>>())
            .map(|mut line| {
                if dynamic.contains(&&*line[0]) {
                    line.iter_mut()
                        .skip(2)
                        .filter(|field| field.parse::<u32>().is_ok())
                        .for_each(String::clear);
                }
                line
            })
            .collect();
        lines.sort();
        lines
    };
    let dynamic = ["net", "video", "late", "later"];
    for file in ["passwd", "group"] {
        let theirs = fs::read_to_string(folder.path().join("etc").join(file)).expect(file);
        let ours = text(&root.tree, &format!("/etc/{file}"));
        assert_eq!(fields(&ours, &dynamic), fields(&theirs, &dynamic), "{file}");
    }
}

fn nftables() -> PackageFiles {
    package("nftables")
        .file("usr/sbin/nft", "nft")
        .file("usr/lib/systemd/system/nftables.service", "[Install]\nWantedBy=sysinit.target\n")
        .file("etc/nftables.conf", "flush ruleset\n")
}

/// The proxies listen on the endpoint's port, whatever it is.
#[test]
fn balancers_let_in_the_port_of_the_endpoint() {
    let profile = fs::read_to_string(repository().join("profiles/lb.yaml")).expect("a profile");
    let rules = profile.split("\n\n").find(|section| section.starts_with("firewall:"));
    let rules = rules.expect("rules of the packet filter");
    for port in ["6443", "443"] {
        let root = Fixture::new()
            .package(nftables())
            .cluster("port: 6443", &format!("port: {port}"))
            .profile(&format!("{rules}\n"))
            .root();
        let rules = text(&root.tree, "/etc/nftables.conf");
        let open: Vec<&str> =
            rules.lines().map(str::trim).filter(|line| line.starts_with("tcp dport")).collect();
        let wanted = format!("tcp dport {port} accept comment \"tcp endpoint\"");
        assert_eq!(open, [wanted]);
    }
}

/// The rules are valid for nft, and say what the profile says.
#[test]
fn the_firewall_is_one_that_nft_accepts() {
    let root = Fixture::new()
        .package(nftables())
        .profile(
            "firewall: { allow: [tcp 6443, tcp endpoint from pods, udp 30000-32767 from pods, vrrp from hosts, icmp from 10.9.0.0/16] }\n",
        )
        .root();
    let rules = text(&root.tree, "/etc/nftables.conf");
    for line in [
        "tcp dport 6443 accept",
        "ip saddr 10.244.0.0/16 tcp dport 6443 accept comment \"tcp endpoint from pods\"",
        "ip saddr 10.244.0.0/16 udp dport 30000-32767 accept",
        "ip saddr 192.168.31.0/24 meta l4proto 112 accept",
        "type filter hook input priority filter; policy drop;",
    ] {
        assert!(rules.contains(line), "{line} is not in\n{rules}");
    }
    assert!(kind(&root, "/etc/systemd/system/sysinit.target.wants/nftables.service").is_some());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("nftables.conf");
    fs::write(&file, &rules).expect("a file");
    // A network of its own, so that no privilege is needed and nothing of the host takes part.
    let output = Command::new("unshare")
        .args(["--map-root-user", "--net", "nft", "--check", "--file"])
        .arg(&file)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .expect("unshare (package util-linux) is needed");
    assert!(output.status.success(), "nft: {}\n{rules}", String::from_utf8_lossy(&output.stderr));
}

const SERVER: &str = "\
packages: [base-files, intel-microcode]
kernel: { package: linux-image, initrd-modules: [adapter] }
boot: { bios: true }
";

/// A kernel module that says what it is and which firmware it asks for.
fn module(modinfo: &str) -> Vec<u8> {
    let names = "\0.modinfo\0";
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(64, 0);
    let [modinfo_at, names_at] = [64, 64 + modinfo.len()];
    file.extend(modinfo.as_bytes());
    file.extend(names.as_bytes());
    let table = file.len();
    for (name, kind, at, len) in
        [(0, 0, 0, 0), (1, 1, modinfo_at, modinfo.len()), (0, 3, names_at, names.len())]
    {
        let mut header = [0; 64];
        header[0] = name;
        header[4] = kind;
        header[24..32].copy_from_slice(&(at as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(len as u64).to_le_bytes());
        file.extend(header);
    }
    file[40..48].copy_from_slice(&(table as u64).to_le_bytes());
    file[58..64].copy_from_slice(&[64, 0, 3, 0, 2, 0]);
    file
}

#[test]
fn what_only_the_boot_chain_needs_is_not_in_the_root() {
    let modinfo = "license=GPL\0alias=pci:v1*\0firmware=maker/here.bin\0\
                   firmware=maker/linked.bin\0firmware=maker/absent.bin\0firmware=../etc/shadow\0";
    let root = Fixture::new()
        .profile(SERVER)
        .package(
            package("modules").file("usr/lib/modules/6.12.1/kernel/adapter.ko", module(modinfo)),
        )
        .package(
            package("firmware")
                .file("lib/firmware/maker/here.bin", "here")
                .symlink("lib/firmware/maker/linked.bin", "../other/real.bin")
                .file("lib/firmware/other/real.bin", "linked"),
        )
        .package(package("intel-microcode").file("lib/firmware/intel-ucode/06-55-04", "update"))
        .package(
            package("grub-pc-bin")
                .file("usr/lib/grub/i386-pc/boot.img", "boot")
                .file("usr/share/doc/grub-pc-bin/copyright", "free"),
        )
        .root();
    let tree = dump(&root.tree);
    assert!(!tree.contains("grub") && !tree.contains("intel-ucode"), "{tree}");
    assert!(tree.contains("/usr/lib/firmware/maker/here.bin"), "{tree}");
    assert_eq!(root.boot.grub.keys().collect::<Vec<_>>(), ["boot.img"]);
    let intel: Vec<&String> = root.boot.microcode.0.values().flat_map(BTreeMap::keys).collect();
    assert_eq!(intel, ["06-55-04"]);
    let firmware: Vec<(&str, Vec<u8>)> = root
        .kernel
        .initrd_firmware
        .iter()
        .map(|(path, content)| (path.as_str(), content.to_vec().expect("bytes")))
        .collect();
    let expected = [
        ("/lib/firmware/maker/here.bin", b"here".to_vec()),
        ("/lib/firmware/maker/linked.bin", b"linked".to_vec()),
    ];
    assert_eq!(firmware, expected);
}

#[test]
fn grub_is_a_package_like_others_unless_legacy_firmware_boots() {
    let grub = || package("grub-pc-bin").file("usr/lib/grub/i386-pc/boot.img", "boot");
    let root = Fixture::new().package(grub()).root();
    assert!(root.boot.grub.is_empty());
    assert!(dump(&root.tree).contains("/usr/lib/grub/i386-pc/boot.img"));
    let refusal = Fixture::new().profile("boot: { bios: true }\n").refusal();
    let expected =
        "the packages hold no GRUB for legacy firmware; it comes with package 'grub-pc-bin'";
    assert_eq!(refusal, expected);
}
