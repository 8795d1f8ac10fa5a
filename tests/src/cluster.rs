use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::firn::{NO_OTLP_PORTS, await_ready};
use crate::process::{Child, free_ports};
use crate::store::{ACCESS_KEY, BUCKET, ObjectStore, REGION, SECRET_KEY};
use crate::surface::Surface;

/// A Firn of several processes, one per role (and ingester), over one configuration file and one store. Each can be
/// killed and started again by its name: its target, and for ingesters a number behind it.
#[derive(Debug)]
pub struct Cluster {
    binary: String,
    dir: PathBuf,
    processes: Vec<Process>,
    surface: Surface,
    flags: Vec<String>,
}

/// How to start it.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// How many ingesters; one of each other role.
    pub ingesters: usize,
    /// Where the tables lie.
    pub storage: Storage,
    /// Flags for all processes.
    pub flags: Vec<String>,
    /// Who else gives queriers work, as `host:port`.
    pub frontends: Vec<String>,
}

/// Where the tables of a cluster lie.
#[derive(Debug, Clone)]
pub enum Storage {
    /// In a folder.
    Folder(PathBuf),
    /// Below a prefix of the bucket of a store.
    Bucket {
        /// Where the store answers.
        endpoint: String,
        /// The prefix, without slashes around it.
        prefix: String,
    },
}

#[derive(Debug)]
struct Process {
    /// `ingester-0`
    name: String,
    /// `ingester`
    target: &'static str,
    port: u16,
    child: Option<Child>,
    n_starts: usize,
}

const ROLES: [&str; 4] = ["compactor", "querier", "query-frontend", "distributor"];

impl Storage {
    /// Below `prefix` in the bucket of `store`.
    pub fn bucket(store: &ObjectStore, prefix: &str) -> Storage {
        Storage::Bucket { endpoint: store.endpoint(), prefix: prefix.to_string() }
    }

    /// As flags of a single process.
    pub fn flags(&self) -> Vec<String> {
        match self {
            Storage::Folder(folder) => vec![format!("-storage.url={}", folder.display())],
            Storage::Bucket { endpoint, prefix } => vec![
                format!("-storage.url=s3://{BUCKET}/{prefix}"),
                format!("-storage.s3.endpoint={endpoint}"),
                format!("-storage.s3.region={REGION}"),
                format!("-storage.s3.access-key-id={ACCESS_KEY}"),
                format!("-storage.s3.secret-access-key={SECRET_KEY}"),
                "-storage.s3.insecure=true".to_string(),
            ],
        }
    }

    fn yaml(&self) -> String {
        match self {
            Storage::Folder(folder) => format!("storage:\n  url: {}\n", folder.display()),
            Storage::Bucket { endpoint, prefix } => format!(
                "storage:\n  url: s3://{BUCKET}/{prefix}\n  s3:\n    endpoint: {endpoint}\n    region: {REGION}\n    \
                 access_key_id: {ACCESS_KEY}\n    secret_access_key: {SECRET_KEY}\n    insecure: true\n"
            ),
        }
    }
}

impl ClusterOptions {
    /// Five processes over this storage.
    pub fn over(storage: Storage) -> ClusterOptions {
        ClusterOptions { ingesters: 1, storage, flags: Vec::new(), frontends: Vec::new() }
    }

    /// These options and these flags.
    pub fn with_flags(mut self, flags: &[&str]) -> ClusterOptions {
        self.flags.extend(flags.iter().map(ToString::to_string));
        self
    }

    /// These options with another query-frontend, outside of the cluster.
    pub fn with_frontend(mut self, address: &str) -> ClusterOptions {
        self.frontends.push(address.to_string());
        self
    }

    /// These options with so many ingesters.
    pub fn with_ingesters(mut self, n: usize) -> ClusterOptions {
        self.ingesters = n;
        self
    }
}

impl Cluster {
    /// Starts all processes at once, their logs and those of their starts in `dir`, and waits until all are ready.
    pub fn start(binary: &str, dir: &Path, options: &ClusterOptions) -> Result<Cluster, String> {
        fs::create_dir_all(dir).map_err(|e| e.to_string())?;
        let ingesters = (0..options.ingesters).map(|i| (format!("ingester-{i}"), "ingester"));
        let others = ROLES.iter().map(|role| (role.to_string(), *role));
        let ports = free_ports(options.ingesters + ROLES.len());
        let processes: Vec<Process> = ingesters
            .chain(others)
            .zip(ports)
            .map(|((name, target), port)| Process { name, target, port, child: None, n_starts: 0 })
            .collect();
        let surface = surface(&processes);
        let flags = options.flags.clone();
        let mut cluster =
            Cluster { binary: binary.to_string(), dir: dir.to_path_buf(), processes, surface, flags };
        fs::write(cluster.config(), cluster.yaml(options)).map_err(|e| e.to_string())?;
        for i in 0..cluster.processes.len() {
            cluster.spawn(i, &[])?;
        }
        for i in 0..cluster.processes.len() {
            cluster.await_ready(i)?;
        }
        Ok(cluster)
    }

    /// The names of its processes.
    pub fn names(&self) -> Vec<String> {
        self.processes.iter().map(|process| process.name.clone()).collect()
    }

    /// Its ingesters, as `cluster.members` lists them.
    pub fn members(&self) -> Vec<String> {
        let ingesters = self.processes.iter().filter(|process| process.target == "ingester");
        ingesters.map(|process| format!("{}=127.0.0.1:{}", process.name, process.port)).collect()
    }

    /// Where a process answers.
    pub fn url(&self, name: &str) -> Result<String, String> {
        Ok(self.processes[self.find(name)?].url())
    }

    /// A process that was started.
    pub fn child(&mut self, name: &str) -> Result<&mut Child, String> {
        let i = self.find(name)?;
        self.processes[i].child.as_mut().ok_or_else(|| format!("{name} was never started"))
    }

    /// Kills a process as `kill -9` does.
    pub fn kill(&mut self, name: &str) -> Result<(), String> {
        self.child(name)?.kill();
        Ok(())
    }

    /// Starts a process that is gone again, in the same place, and waits until it is ready.
    pub fn restart(&mut self, name: &str) -> Result<(), String> {
        match self.start_or_die(name, &[])? {
            true => Ok(()),
            false => Err(format!("{name} died:\n{}", self.child(name)?.output())),
        }
    }

    /// As [`Cluster::restart`], with an environment such as the fault to die of; `false` when it died on its way.
    pub fn start_or_die(&mut self, name: &str, env: &[(&str, &str)]) -> Result<bool, String> {
        let i = self.find(name)?;
        self.spawn(i, env)?;
        let process = &mut self.processes[i];
        let child = process.child.as_mut().ok_or("it was not started")?;
        Ok(await_ready(child)?.is_some())
    }

    fn find(&self, name: &str) -> Result<usize, String> {
        let found = self.processes.iter().position(|process| process.name == name);
        found.ok_or_else(|| format!("no process is called {name}"))
    }

    fn spawn(&mut self, i: usize, env: &[(&str, &str)]) -> Result<(), String> {
        let (binary, config) = (self.binary.clone(), self.config());
        let process = &mut self.processes[i];
        let mut command = Command::new(binary);
        command
            .arg(format!("-config.file={}", config.display()))
            .arg(format!("-target={}", process.target))
            .arg(format!("-server.http-listen-port={}", process.port))
            .arg(format!("-storage.wal-dir={}", self.dir.join(format!("{}-wal", process.name)).display()))
            .envs(NO_OTLP_PORTS)
            .args(&self.flags)
            .envs(env.iter().copied());
        if process.target == "ingester" {
            command.arg(format!("-cluster.instance={}", process.name));
        }
        // Each start has a log file of its own, since the address is read from it.
        let log = format!("{}-{}", process.name, process.n_starts);
        process.n_starts += 1;
        process.child = Some(Child::start(&log, command, &self.dir).map_err(|e| e.to_string())?);
        Ok(())
    }

    fn await_ready(&mut self, i: usize) -> Result<(), String> {
        let Process { name, child, .. } = &mut self.processes[i];
        let child = child.as_mut().ok_or("it was not started")?;
        match await_ready(child).map_err(|e| format!("{name}: {e}"))? {
            Some(_) => Ok(()),
            None => Err(format!("{name} died:\n{}", child.output())),
        }
    }

    fn config(&self) -> PathBuf {
        self.dir.join("firn.yaml")
    }

    /// What all processes share.
    fn yaml(&self, options: &ClusterOptions) -> String {
        let of = |target: &'static str| self.processes.iter().filter(move |process| process.target == target);
        let frontends: Vec<String> = of("query-frontend")
            .map(|process| format!("127.0.0.1:{}", process.port))
            .chain(options.frontends.iter().cloned())
            .collect();
        format!(
            "{}cluster:\n  members: {members:?}\nquerier:\n  frontend_addresses: {frontends:?}\n",
            options.storage.yaml(),
            members = self.members(),
        )
    }
}

/// What is asked of it over HTTP.
impl Deref for Cluster {
    type Target = Surface;

    fn deref(&self) -> &Surface {
        &self.surface
    }
}

impl Process {
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn surface(processes: &[Process]) -> Surface {
    let urls = |target: &str| -> Vec<String> {
        processes.iter().filter(|process| process.target == target).map(Process::url).collect()
    };
    Surface {
        push: urls("distributor").concat(),
        query: urls("query-frontend").concat(),
        ingesters: urls("ingester"),
    }
}
