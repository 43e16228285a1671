// SPDX-License-Identifier: Apache-2.0
//! What Kubernetes adds to a role: programs, files, units, accounts, rules of the packet filter.
//!
//! A profile says what a machine is; the cluster file says which Kubernetes it runs. Everything that
//! follows from the second is put into the profile here, as if somebody had written it there, and
//! goes the same way from then on. What the profile already has stays: people have the last word.
//! Secrets are in no profile and no plan; [`secrets`] gives them when an image is built.

use std::net::SocketAddrV4;

use super::{
    MASTER, NODE,
    arguments::kernel_modules,
    bootstrap, bring_up,
    configs::EncryptionKeys,
    etcd, files,
    flags::Component,
    kubeconfig::BootstrapToken,
    pod_network, pods, requirements, secrets,
    settings::{ControlPlane, Machine, Networks, Settings},
    units::USERS,
};
use crate::{
    cluster::{Cluster, Kubernetes},
    pki::{Kind, delivery::NodeFile},
    profile::{File, FileContent, Profile, User, firewall::Rule},
    tree::TreePath,
};

/// The token as a secret of the API, for its own master only.
const TOKEN_SECRET: &str = "/etc/kubernetes/bootstrap-token.yaml";
/// Ids of accounts are fixed, because files in `var` outlive the image.
const ETCD_UID: u32 = 454;
const FIRST_UID: u32 = 460;
/// Seconds: a new cluster waits for a majority of etcd, then for one another.
const READY_TIMEOUT: u32 = 1200;

/// What the generators need to know for a role, from the cluster file. None if it has no
/// Kubernetes.
pub fn settings(cluster: &Cluster, role: &str) -> Option<Settings> {
    let kubernetes = cluster.kubernetes.as_ref()?;
    let networks = &cluster.networks;
    Some(Settings {
        version: kubernetes.version_of(role),
        cluster: cluster.name.clone(),
        endpoint: SocketAddrV4::new(cluster.endpoint.vip, cluster.endpoint.port),
        networks: Networks {
            pods: networks.pods,
            services: networks.services,
            dns: networks.dns,
            domain: networks.domain.clone(),
            node_prefix: kubernetes.node_prefix,
        },
        proxy_mode: kubernetes.proxy_mode,
        control_plane: kubernetes.control_plane,
        pod_network: kubernetes.network,
        encrypts_secrets: true,
        programs: "/usr/bin".to_owned(),
        extra: kubernetes.flags.clone(),
    })
}

/// Adds to `profile` what its role needs of the cluster's Kubernetes, if it has one.
pub fn extend(cluster: &Cluster, profile: &mut Profile) {
    let (Some(kubernetes), Some(settings)) =
        (&cluster.kubernetes, settings(cluster, &profile.role))
    else {
        return;
    };
    let mut role = Role { cluster, kubernetes, settings, profile };
    role.seeds();
    role.etcd();
    if machine(&role.profile.role).is_some() {
        let timeout = &mut role.profile.services.ready_timeout;
        *timeout = READY_TIMEOUT.max(*timeout);
    }
    match &*role.profile.role {
        MASTER => role.master(),
        NODE => role.node(),
        _ => {}
    }
}

/// A program that a role's image carries, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub name: &'static str,
    /// In the root, or in the container image that carries it.
    pub path: TreePath,
    /// The name of that container image.
    pub image: Option<String>,
}

/// Programs of a role; none without Kubernetes.
pub fn programs(cluster: &Cluster, role: &str) -> Vec<Program> {
    let (Some(settings), Some(machine)) = (settings(cluster, role), machine(role)) else {
        return Vec::new();
    };
    let program = |name: &'static str, image| {
        let path = place(&format!("{}/{name}", settings.programs));
        Program { name, path, image }
    };
    let services = files::services(&settings, machine);
    let mut programs: Vec<Program> =
        services.into_iter().map(|component| program(component.name(), None)).collect();
    if machine == Machine::ControlPlane {
        programs.push(program("kubectl", None));
        if settings.control_plane == ControlPlane::StaticPods {
            programs.extend(pods::COMPONENTS.map(|component| {
                program(component.name(), Some(pods::image(component, &settings)))
            }));
        }
    }
    programs
}

/// Whether a role's image holds secrets beside certificates and keys.
pub fn has_secrets(role: &str) -> bool {
    machine(role).is_some()
}

/// The generated files that are secrets.
pub fn secrets(
    cluster: &Cluster,
    role: &str,
    token: &BootstrapToken,
    keys: &EncryptionKeys,
) -> Vec<NodeFile> {
    let (Some(settings), Some(machine)) = (settings(cluster, role), machine(role)) else {
        return Vec::new();
    };
    let generated =
        files::files(&settings, machine, Some(files::Secrets { token, encryption: keys }));
    let mut secrets: Vec<NodeFile> = generated
        .into_iter()
        .filter_map(|file| Some(secret(&file.path, file.mode, file.secret?, file.text)))
        .collect();
    if machine == Machine::ControlPlane {
        let text = bootstrap::token_secret(token).to_string();
        secrets.push(secret(TOKEN_SECRET, 0o600, Kind::BootstrapToken, text));
    }
    secrets
}

fn secret(path: &str, mode: u16, kind: Kind, text: String) -> NodeFile {
    NodeFile { path: path.to_owned(), mode, owner: "root", kind, content: text.into_bytes() }
}

/// What hosts of a role are for Kubernetes; none if they do not run it.
pub fn machine(role: &str) -> Option<Machine> {
    match role {
        MASTER => Some(Machine::ControlPlane),
        NODE => Some(Machine::Node),
        _ => None,
    }
}

struct Role<'a> {
    cluster: &'a Cluster,
    kubernetes: &'a Kubernetes,
    settings: Settings,
    profile: &'a mut Profile,
}

impl Role<'_> {
    /// What comes by seed is written by first boot.
    fn seeds(&mut self) {
        let allowed = secrets::allowed(self.cluster, &self.profile.role);
        let list = &mut self.profile.metadata.write_files;
        let more: Vec<String> = allowed.into_iter().filter(|path| !list.contains(path)).collect();
        list.extend(more);
    }

    fn etcd(&mut self) {
        let is_member = |name: &str| self.cluster.etcd.members.iter().any(|member| member == name);
        let role = self.profile.role.clone();
        let mut hosts = self.cluster.hosts_of(&role);
        let everybody = self.cluster.hosts_of(&role).all(|(name, _)| is_member(name));
        if !hosts.any(|(name, _)| is_member(name)) {
            return;
        }
        self.install(&["etcd-client", "etcd-server"]);
        self.user("etcd", ETCD_UID, "/var/lib/etcd");
        self.template(etcd::CONFIG, etcd::config(self.cluster));
        // A profile that lays it over the root itself, as that of masters, has the last word.
        if !self.profile.overlays.iter().any(|name| name == etcd::OVERLAY) {
            self.text(etcd::SANDBOX, etcd::SANDBOX_TEXT.to_owned());
        }
        let drop_in = etcd::drop_in(self.cluster, &self.profile.role);
        self.text("/usr/lib/systemd/system/etcd.service.d/20-kiln-cluster.conf", drop_in);
        self.profile.services.enable.insert("etcd.service".to_owned());
        if everybody {
            self.profile.services.ready.insert("etcd.service".to_owned());
        }
        self.allow(&["tcp 2379-2380 from hosts"]);
    }

    fn master(&mut self) {
        self.generated(Machine::ControlPlane);
        match self.kubernetes.control_plane {
            ControlPlane::Systemd => {
                for (number, user) in (FIRST_UID..).zip(USERS) {
                    self.user(user, number, "/nonexistent");
                }
            }
            ControlPlane::StaticPods => self.pods(),
        }
        let manifest = bootstrap::manifest(&bootstrap::objects());
        self.text(&format!("{}/bootstrap.yaml", bring_up::FOLDER), manifest);
        // Secrets lie in /etc, where a seed can put them too.
        let link = FileContent::Symlink(TOKEN_SECRET.to_owned());
        self.file(&format!("{}/bootstrap-token.yaml", bring_up::FOLDER), link);
        self.template(bring_up::KUBECONFIG, bring_up::kubeconfig(&self.settings));
        self.unit(bring_up::API_UNIT, bring_up::api_unit(self.kubernetes.control_plane));
        self.unit("kiln-bring-up.service", bring_up::unit());
        self.unit("kiln-approve.service", bring_up::approve_unit());
        self.allow(&["tcp 6443 from hosts", "tcp 6443 from pods"]);
    }

    fn node(&mut self) {
        self.generated(Machine::Node);
        self.pods();
        self.allow(&["tcp 30000-32767", "udp 30000-32767"]);
    }

    /// What a kubelet and kube-proxy need around them.
    fn pods(&mut self) {
        self.install(requirements::packages(self.settings.version.minor));
        let modules = kernel_modules(self.kubernetes.proxy_mode);
        self.profile.kernel.modules.extend(modules.iter().map(|name| (*name).to_owned()));
        self.pod_network();
        self.text(bring_up::LOADER, bring_up::LOADER_TEXT.to_owned());
        self.unit("kiln-images.service", bring_up::images_unit());
        self.allow(&["tcp 10250 from hosts", "tcp 10250 from pods"]);
    }

    /// What a machine that runs pods needs to connect them.
    fn pod_network(&mut self) {
        let parts =
            pod_network::parts(self.kubernetes.network, self.cluster, self.kubernetes.node_prefix);
        for (path, content) in parts.files {
            if !self.profile.binaries.contains_key(&place(path)) {
                self.file(path, content);
            }
        }
        self.profile.kernel.modules.extend(parts.modules.iter().map(|name| (*name).to_owned()));
        self.allow(parts.rules);
        if let Some((name, text)) = parts.unit {
            self.unit(name, text);
        }
    }

    /// Files and services of the programs themselves, but for what is secret.
    fn generated(&mut self, machine: Machine) {
        for file in files::files(&self.settings, machine, None) {
            let content =
                if file.is_per_host { FileContent::BootTemplate } else { FileContent::Text };
            // Units of Kiln lie where an operator's drop-ins come after them.
            let path = file.path.replace("/etc/systemd/system/", "/usr/lib/systemd/system/");
            self.file(&path, content(file.text));
        }
        for component in files::services(&self.settings, machine) {
            self.start(component);
        }
    }

    fn start(&mut self, component: Component) {
        let unit = format!("{component}.service");
        self.profile.services.enable.insert(unit.clone());
        self.profile.services.ready.insert(unit);
    }

    /// A unit of Kiln's own that must run for the role to be ready.
    fn unit(&mut self, name: &str, text: String) {
        self.text(&format!("/usr/lib/systemd/system/{name}"), text);
        self.profile.services.enable.insert(name.to_owned());
        self.profile.services.ready.insert(name.to_owned());
    }

    fn install(&mut self, packages: &[&str]) {
        let names = packages.iter().map(|name| (*name).to_owned());
        self.profile.packages.install.extend(names);
    }

    fn text(&mut self, path: &str, text: String) {
        self.file(path, FileContent::Text(text));
    }

    fn template(&mut self, path: &str, text: String) {
        self.file(path, FileContent::BootTemplate(text));
    }

    fn file(&mut self, path: &str, content: FileContent) {
        let root = || "root".to_owned();
        let file = File { content, mode: 0o644, owner: root(), group: root() };
        self.profile.files.entry(place(path)).or_insert(file);
    }

    fn user(&mut self, name: &str, uid: u32, home: &str) {
        let user = User {
            uid,
            group: name.to_owned(),
            home: home.to_owned(),
            shell: "/usr/sbin/nologin".to_owned(),
            comment: name.to_owned(),
            groups: Default::default(),
            admin: false,
        };
        self.profile.users.entry(name.to_owned()).or_insert(user);
    }

    fn allow(&mut self, rules: &[&str]) {
        let rules = rules.iter().map(|rule| rule.parse::<Rule>().expect("a rule of ours"));
        self.profile.firewall.allow.extend(rules);
    }
}

/// A path of ours.
fn place(path: &str) -> TreePath {
    TreePath::new(path).expect("a path of ours is valid")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        cluster::Cluster,
        kubernetes::{
            etcd, files,
            fixture::{SYSTEMD, planned},
            flags::Component,
        },
        profile::{FileContent, Profile},
        seed,
    };

    fn cluster_and(role: &str) -> (Cluster, Profile) {
        let plan = planned(SYSTEMD, role);
        (plan.cluster, plan.profile)
    }

    fn text(profile: &Profile, path: &str) -> String {
        let path = super::place(path);
        match &profile.files[&path].content {
            FileContent::Text(text) | FileContent::BootTemplate(text) => text.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn members_of_etcd_are_the_cluster_files_and_start_where_they_are() {
        let (cluster, node) = cluster_and("node");
        let config = text(&node, etcd::CONFIG);
        let members = "m1=https://192.168.31.24:2380,m2=https://192.168.31.26:2380,n1=https://192.168.31.35:2380";
        assert!(config.contains(members), "{config}");
        assert!(config.contains("\"name\": \"{{ hostname }}\""), "{config}");
        let drop_in = etcd::drop_in(&cluster, "node");
        assert!(drop_in.contains("ConditionHost=|n1\n") && !drop_in.contains("n2"), "{drop_in}");
        // A node that is no member is ready without it.
        assert!(!node.services.ready.contains("etcd.service"));
        let (cluster, master) = cluster_and("master");
        assert!(!etcd::drop_in(&cluster, "master").contains("ConditionHost"));
        assert!(master.services.ready.contains("etcd.service"));
    }

    #[test]
    fn what_an_overlay_says_of_etcd_is_not_said_again() {
        let (cluster, mut node) = cluster_and("node");
        let path = super::place(etcd::SANDBOX);
        assert!(text(&node, etcd::SANDBOX).contains("ProtectSystem=strict\n"));
        node.files.clear();
        node.overlays.push(etcd::OVERLAY.to_owned());
        super::extend(&cluster, &mut node);
        assert!(!node.files.contains_key(&path) && !node.files.is_empty());
    }

    #[test]
    fn a_flag_of_the_cluster_file_reaches_its_program_and_no_other() {
        for (role, program) in [("master", Component::ApiServer), ("node", Component::Kubelet)] {
            let (mut cluster, mut profile) = cluster_and(role);
            let kubernetes = cluster.kubernetes.as_mut().unwrap();
            assert!(!serde_json::to_string(&kubernetes).unwrap().contains("flags"));
            kubernetes.flags = [(program, [("v".to_owned(), "4".to_owned())].into())].into();
            let json = serde_json::to_value(&kubernetes).unwrap();
            assert_eq!(json["flags"], json!({ program.name(): { "v": "4" } }));
            profile.files.clear();
            super::extend(&cluster, &mut profile);
            for service in files::services(
                &super::settings(&cluster, role).unwrap(),
                super::machine(role).unwrap(),
            ) {
                let unit = text(&profile, &format!("/usr/lib/systemd/system/{service}.service"));
                assert_eq!(unit.contains(" --v=4\n"), service == program, "{unit}");
            }
        }
    }

    #[test]
    fn a_member_that_joins_others_is_told_so_by_its_seed() {
        let (mut cluster, master) = cluster_and("master");
        let mut engine = kiln_init::template::Engine::new();
        engine.add("etcd", &text(&master, etcd::CONFIG)).unwrap();
        let mut began = |vars: &[(&str, &str)]| {
            let host = cluster.hosts.get_mut("m1").unwrap();
            host.vars = vars.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
            let values = crate::template::sample(&cluster, "m1", &cluster.hosts["m1"]);
            let text = engine.render("etcd", &values).unwrap();
            let config: serde_json::Value = serde_json::from_str(&text).unwrap();
            [&config["initial-cluster-state"], &config["initial-cluster"]]
                .map(|value| value.to_string())
        };
        let [state, members] = began(&[]);
        assert_eq!(state, "\"new\"");
        assert!(members.contains("m2=https://192.168.31.26:2380"), "{members}");
        let one = "m1=https://192.168.31.24:2380";
        let later = [(etcd::INITIAL_STATE, "existing"), (etcd::INITIAL_CLUSTER, one)];
        assert_eq!(began(&later), ["\"existing\"".to_owned(), format!("\"{one}\"")]);
    }

    #[test]
    fn a_seed_has_the_hosts_that_its_host_calls_and_no_others() {
        let (cluster, _) = cluster_and("node");
        let vars = |host: &str| {
            let files = seed::files(&cluster, host).unwrap();
            let value: serde_json::Value = serde_json::from_slice(&files["meta-data"]).unwrap();
            value["vars"].clone()
        };
        let list = |hosts: &[(&str, &str)]| {
            let hosts =
                hosts.iter().map(|(name, address)| json!({"name": name, "address": address}));
            hosts.collect::<serde_json::Value>()
        };
        let masters = [("m1", "192.168.31.24"), ("m2", "192.168.31.26")];
        let members = [masters[0], masters[1], ("n1", "192.168.31.35")];
        let balancers = list(&[("l1", "192.168.31.178")]);
        let of_balancer = json!({"peers": {"masters": list(&masters), "balancers": balancers}});
        assert_eq!(vars("l1"), of_balancer);
        assert_eq!(vars("m1"), json!({"peers": {"etcd": list(&members)}}));
        assert_eq!(vars("n1"), json!({}));
    }

    #[test]
    fn no_plan_holds_a_secret_and_load_balancers_have_nothing_of_kubernetes() {
        for role in ["master", "node"] {
            let (_, profile) = cluster_and(role);
            for path in profile.files.keys() {
                let name = path.file_name();
                assert!(!["bootstrap-kubelet.conf", "encryption.yaml"].contains(&name), "{path}");
            }
        }
        let (cluster, balancer) = cluster_and("lb");
        assert!(super::programs(&cluster, "lb").is_empty());
        assert!(balancer.files.is_empty());
    }

    #[test]
    fn what_a_master_applies_has_the_token_in_etc_where_a_seed_can_put_it() {
        let (_, master) = cluster_and("master");
        let link = &master.files[&super::place("/usr/lib/kiln/bring-up/bootstrap-token.yaml")];
        let FileContent::Symlink(target) = &link.content else { panic!("{:?}", link.content) };
        assert_eq!(target, super::TOKEN_SECRET);
        assert_eq!(master.metadata.write_files, [""; 0]);
    }

    #[test]
    fn a_host_s_pods_have_a_range_of_their_own_and_every_host_knows_the_way() {
        let (cluster, _) = cluster_and("node");
        assert_eq!(cluster.pod_range(&cluster.hosts["n1"]).unwrap().to_string(), "10.244.35.0/24");
        let network = |host: &str| {
            let files = seed::files(&cluster, host).unwrap();
            String::from_utf8(files["network-config"].clone()).unwrap()
        };
        for host in ["m1", "l1", "n2"] {
            let text = network(host);
            assert!(text.contains("\"to\": \"10.244.35.0/24\""), "{host}: {text}");
            assert!(text.contains("\"via\": \"192.168.31.35\""), "{host}: {text}");
        }
        assert!(!network("n1").contains("10.244.35.0/24"));
    }
}
