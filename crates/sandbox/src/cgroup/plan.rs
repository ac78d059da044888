//! Where the cgroup of a sandbox with limits is made, decided before anything is made.
//!
//! Version 1 has a tree for each controller, and processes may be anywhere in it: the cgroup is made below galley's own.
//! In version 2 a cgroup with processes can have no controllers for those below it. So the place is looked for: root takes
//! `/galley` at the top; an ordinary user the nearest cgroup above galley's own that was delegated to them and has no
//! processes itself, or their own one, when nothing but galley is in it and can be moved down.

use std::path::{Path, PathBuf};

use rustix::fs::Access;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::hierarchy::Hierarchy;
use super::limits::Write;
use super::{CgroupParent, FILE_MAX, Limits, read, unique_name, write};
use crate::error::{Error, Refusal};
use crate::spec::{Mount, Source};

/// The cgroup below the top in which those of root's containers are.
const TOP: &str = "galley";
/// Where galley itself goes when it has to make room for cgroups below its own.
const SUPERVISOR: &str = "galley-supervisor";

/// Where cgroups are looked for.
const SHOWN: &str = "/sys/fs/cgroup";

/// The longest description of a plan that is sent.
pub(crate) const PLAN_MAX: usize = 64 << 10;

/// Everything that is made for one sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Files `cgroup.subtree_control`, the topmost first, and what is switched on; their directories are made.
    pub(super) enable: Vec<(PathBuf, String)>,
    pub(super) leaves: Vec<Leaf>,
}

/// The cgroup in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Leaf {
    pub(super) dir: PathBuf,
    pub(super) legacy: bool,
    /// Of version 1; of version 2 nobody asks.
    pub(super) controllers: Vec<String>,
    pub(super) writes: Vec<Write>,
}

impl Leaf {
    /// Whether it is the cgroup of this controller, in version 1.
    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|it| it == controller)
    }
}

impl Plan {
    /// Finds a place for a cgroup with these limits, below `parent` when that is given. This process may be moved down in
    /// its hierarchy.
    pub fn make(limits: &Limits, parent: Option<&CgroupParent>) -> Result<Self, Refusal> {
        let name = unique_name().map_err(|_| Refusal::NoHierarchy)?;
        Machine::this()?.plan(limits, parent, &name)
    }

    /// What a sandbox that runs in these cgroups lacks for other limits; [`Spawner::place`](crate::Spawner::place) makes it.
    pub fn lacking(&self, limits: &Limits, parent: Option<&CgroupParent>) -> Result<Self, Refusal> {
        let known = self.leaves.first().and_then(|leaf| leaf.dir.file_name()?.to_str().map(str::to_owned));
        let name = known.map_or_else(unique_name, Ok).map_err(|_| Refusal::NoHierarchy)?;
        Machine::this()?.more(self, limits, parent, &name)
    }

    /// This one, and what was made beside it.
    #[must_use]
    pub fn with(&self, more: &Self) -> Self {
        let mut all = self.clone();
        for leaf in &more.leaves {
            match all.leaves.iter_mut().find(|known| known.dir == leaf.dir) {
                Some(known) => known.controllers.extend(leaf.controllers.iter().cloned()),
                None => all.leaves.push(leaf.clone()),
            }
        }
        all
    }

    /// This one without what is part of `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.leaves.retain(|leaf| other.leaves.iter().all(|known| known.dir != leaf.dir));
        rest
    }

    /// Moves all processes of the sandbox here, whose first one this is.
    pub fn gather(&self, first: u32) -> Result<(), Error> {
        Ok(self.leaves.iter().try_for_each(|leaf| super::freezer::gather(&leaf.dir, first))?)
    }

    /// Changes the limits of a sandbox that runs in it: `limits` are all that hold from now on.
    pub fn change(&self, limits: &Limits) -> Result<(), Error> {
        Ok(self.wanted(limits)?.iter().try_for_each(super::relimit)?)
    }

    /// The cgroups in which something has to be written for `limits`, with that.
    pub(super) fn wanted(&self, limits: &Limits) -> Result<Vec<Leaf>, Refusal> {
        let leaf = |controller: &str| {
            let named = |leaf: &&Leaf| leaf.has(controller);
            self.leaves.iter().find(named).or_else(|| self.leaves.iter().find(|leaf| !leaf.legacy))
        };
        let legacy = |controller: &str| leaf(controller).is_none_or(|leaf: &Leaf| leaf.legacy);
        let mut wanted = Vec::new();
        for (controller, writes) in limits.writes(legacy) {
            let leaf = leaf(controller).ok_or(Refusal::NoController { controller })?;
            wanted.push(Leaf { writes, ..leaf.clone() });
        }
        Ok(wanted)
    }

    /// The directories that are made, one in each hierarchy; they are there for as long as the sandbox is.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.leaves.iter().map(|leaf| leaf.dir.as_path())
    }

    /// What shows a sandbox its own cgroup, where programs look for their limits; it cannot change them.
    pub fn mounts(&self) -> Vec<Mount> {
        let shown = |dir: &Path, below: &str| Mount {
            target: Path::new(SHOWN).join(below),
            source: Source::Bind { path: dir.to_owned(), subpath: PathBuf::new(), recursive: false },
            readonly: true,
        };
        let (legacy, unified): (Vec<&Leaf>, Vec<&Leaf>) = self.leaves.iter().partition(|leaf| leaf.legacy);
        let at = if legacy.is_empty() { "" } else { "unified" };
        let folder = Source::Tmpfs { size: Some(4096), mode: Some(0o755), noexec: true };
        let folder = Mount { target: SHOWN.into(), source: folder, readonly: false };
        let by_name =
            |leaf: &'_ Leaf| leaf.controllers.iter().map(|name| shown(&leaf.dir, name)).collect::<Vec<_>>();
        let mounts = (!legacy.is_empty()).then_some(folder).into_iter();
        let mounts = mounts.chain(legacy.into_iter().flat_map(by_name));
        mounts.chain(unified.into_iter().map(|leaf| shown(&leaf.dir, at))).collect()
    }

    /// As it is sent to the helper process.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What was sent.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// What there is.
pub(super) struct Machine {
    pub(super) hierarchies: Vec<Hierarchy>,
    /// Controllers (none for version 2) and the path of this process.
    pub(super) membership: Vec<(String, PathBuf)>,
    /// Whether the top of version 2 is preferred.
    pub(super) at_top: bool,
}

impl Machine {
    fn plan(&self, limits: &Limits, parent: Option<&CgroupParent>, name: &str) -> Result<Plan, Refusal> {
        self.more(&Plan::default(), limits, parent, name)
    }

    /// What there has to be for `limits` beside what `standing` has made.
    fn more(
        &self,
        standing: &Plan,
        limits: &Limits,
        parent: Option<&CgroupParent>,
        name: &str,
    ) -> Result<Plan, Refusal> {
        let mut plan = Plan::default();
        let mut unified: Vec<(&'static str, Vec<Write>)> = Vec::new();
        let stands = |controller| standing.leaves.iter().any(|leaf| leaf.has(controller));
        for (controller, writes) in limits.writes(|name| self.legacy(name).is_some()) {
            match self.legacy(controller) {
                Some(_) if stands(controller) => {}
                Some(hierarchy) => {
                    let base = match parent {
                        Some(parent) => hierarchy.point.join(parent.path()),
                        None => self.own(hierarchy).ok_or(Refusal::Elsewhere { controller })?,
                    };
                    add_leaf(&mut plan, base.join(name), controller, writes)?;
                }
                None => unified.push((controller, writes)),
            }
        }
        if let Some((first, _)) = unified.first() {
            let hierarchy = self.unified().ok_or(Refusal::NoController { controller: first })?;
            let controllers: Vec<&'static str> = unified.iter().map(|(controller, _)| *controller).collect();
            let standing =
                standing.leaves.iter().find(|leaf| !leaf.legacy).and_then(|leaf| leaf.dir.parent());
            let base = match standing {
                Some(base) => self.there(hierarchy, base, &controllers, parent)?,
                None => self.place(hierarchy, &controllers, parent)?,
            };
            plan.enable = enabling(&hierarchy.point, &base, &controllers);
            let writes = match standing {
                // It may have more of a controller than this one; its limits are changed when all stand.
                Some(_) => Vec::new(),
                None => unified.into_iter().flat_map(|(_, writes)| writes).collect(),
            };
            plan.leaves.push(Leaf { dir: base.join(name), legacy: false, controllers: Vec::new(), writes });
        }
        Ok(plan)
    }

    pub(super) fn legacy(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|it| it.legacy && it.options.iter().any(|option| option == controller))
    }

    pub(super) fn unified(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|it| !it.legacy)
    }

    /// The hierarchy of a cgroup.
    pub(super) fn of(&self, leaf: &Leaf) -> Option<&Hierarchy> {
        if !leaf.legacy {
            return self.unified();
        }
        self.legacy(leaf.controllers.first()?)
    }

    /// The directory of this process's own cgroup; none where another part of the tree is mounted.
    pub(super) fn own(&self, hierarchy: &Hierarchy) -> Option<PathBuf> {
        located(hierarchy, &self.membership)
    }

    /// The same place again, where a cgroup is that lacks controllers.
    fn there(
        &self,
        hierarchy: &Hierarchy,
        base: &Path,
        controllers: &[&'static str],
        parent: Option<&CgroupParent>,
    ) -> Result<PathBuf, Refusal> {
        let top = &hierarchy.point;
        let lacks = |dir: &Path| {
            let there = words(&dir.join("cgroup.controllers"));
            controllers.iter().copied().find(|name| !there.iter().any(|it| it == name))
        };
        if let Some(controller) = lacks(top) {
            return Err(Refusal::NoController { controller });
        }
        // Its own list has what is switched on above it so far, and galley switches the rest on from the top down. Of a place
        // that was delegated it is what was delegated.
        let from_top = parent.is_some() || (self.at_top && *base == top.join(TOP));
        match lacks(base).filter(|_| !from_top) {
            Some(controller) => Err(Refusal::NotDelegated { own: base.to_owned(), controller }),
            None => Ok(base.to_owned()),
        }
    }

    /// Where in version 2.
    pub(super) fn place(
        &self,
        hierarchy: &Hierarchy,
        controllers: &[&'static str],
        parent: Option<&CgroupParent>,
    ) -> Result<PathBuf, Refusal> {
        let top = &hierarchy.point;
        let there = words(&top.join("cgroup.controllers"));
        if let Some(missing) = controllers.iter().find(|name| !there.iter().any(|it| it == *name)) {
            return Err(Refusal::NoController { controller: missing });
        }
        if let Some(parent) = parent {
            return Ok(top.join(parent.path()));
        }
        if self.at_top && is_real_top(top) && may_write(top) {
            return Ok(top.join(TOP));
        }
        // Without any it is to freeze.
        let controller = controllers.first().copied().unwrap_or("freezer");
        let mut own = self.own(hierarchy).ok_or(Refusal::Elsewhere { controller })?;
        // It has made room before; the place is the one above.
        while own.ends_with(SUPERVISOR) && own.pop() {}
        let delegated = |dir: &Path| {
            let there = words(&dir.join("cgroup.controllers"));
            may_write(dir) && controllers.iter().all(|name| there.iter().any(|it| it == name))
        };
        if delegated(&own) && (words(&own.join("cgroup.procs")).is_empty() || moved_down(&own)) {
            return Ok(own);
        }
        let above = own.ancestors().skip(1).take_while(|dir| dir.starts_with(top));
        let mut free = above.filter(|dir| delegated(dir) && words(&dir.join("cgroup.procs")).is_empty());
        let found = free.next().map(Path::to_owned);
        found.ok_or(Refusal::NotDelegated { own, controller })
    }
}

/// The directory of the cgroup of a process; none where another part of the tree is mounted.
pub(super) fn located(hierarchy: &Hierarchy, membership: &[(String, PathBuf)]) -> Option<PathBuf> {
    let of_this = |known: &str| match hierarchy.legacy {
        true => !known.is_empty() && known.split(',').all(|one| hierarchy.options.iter().any(|it| it == one)),
        false => known.is_empty(),
    };
    let (_, path) = membership.iter().find(|(known, _)| of_this(known))?;
    let below = path.strip_prefix(&hierarchy.root).ok()?;
    let dir = hierarchy.point.join(below);
    is_directory(&dir).then_some(dir)
}

/// Several controllers may share a hierarchy of version 1.
fn add_leaf(plan: &mut Plan, dir: PathBuf, controller: &str, writes: Vec<Write>) -> Result<(), Refusal> {
    if let Some(leaf) = plan.leaves.iter_mut().find(|leaf| leaf.dir == dir) {
        leaf.writes.extend(writes);
        leaf.controllers.push(controller.to_owned());
        return Ok(());
    }
    check_writable(dir.parent().unwrap_or(&dir))?;
    plan.leaves.push(Leaf { dir, legacy: true, controllers: vec![controller.to_owned()], writes });
    Ok(())
}

/// Whether cgroups can be made in `base`, or in the first above it that is there.
pub(super) fn check_writable(base: &Path) -> Result<(), Refusal> {
    let there = base.ancestors().find(|dir| is_directory(dir)).unwrap_or(Path::new("/"));
    if may_write(there) { Ok(()) } else { Err(Refusal::ReadOnly { dir: there.to_owned() }) }
}

/// What has to be switched on from the top down to `base`, so that cgroups below `base` have these controllers.
fn enabling(top: &Path, base: &Path, controllers: &[&str]) -> Vec<(PathBuf, String)> {
    let mut dirs: Vec<&Path> = base.ancestors().take_while(|dir| dir.starts_with(top)).collect();
    dirs.reverse();
    let missing = |dir: &Path| {
        let on = words(&dir.join("cgroup.subtree_control"));
        let missing = controllers.iter().filter(|name| !on.iter().any(|it| it == *name));
        missing.map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ")
    };
    let rows = dirs.into_iter().map(|dir| (dir.join("cgroup.subtree_control"), missing(dir)));
    rows.filter(|(_, missing)| !missing.is_empty()).collect()
}

/// Moves this process, and the galley that waits for it, from `own` to a cgroup below, so that `own` is free; not when
/// anybody else is there.
fn moved_down(own: &Path) -> bool {
    let program = |pid: &str| fs_err::read_link(format!("/proc/{pid}/exe")).ok();
    let processes = words(&own.join("cgroup.procs"));
    let ours = program("self");
    if ours.is_none() || processes.iter().any(|pid| program(pid) != ours) {
        return false;
    }
    let below = own.join(SUPERVISOR);
    let made = rustix::fs::mkdir(&below, rustix::fs::Mode::from_raw_mode(0o755));
    if !matches!(made, Ok(()) | Err(Errno::EXIST)) {
        return false;
    }
    processes.iter().all(|pid| write(&below.join("cgroup.procs"), pid.as_bytes()).is_ok())
}

/// The real top has processes and yet controllers for those below it. Inside of a cgroup namespace another cgroup is shown
/// as the top, and has the files of one.
fn is_real_top(dir: &Path) -> bool {
    matches!(rustix::fs::stat(dir.join("cgroup.events")), Err(Errno::NOENT))
}

fn is_directory(dir: &Path) -> bool {
    rustix::fs::stat(dir).is_ok_and(|found| rustix::fs::FileType::from_raw_mode(found.st_mode).is_dir())
}

fn may_write(dir: &Path) -> bool {
    rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// The words of a file; none when it cannot be read. A list that is cut is not empty, which is what matters.
fn words(path: &Path) -> Vec<String> {
    let text = read(path).unwrap_or_default();
    debug_assert!(text.len() <= FILE_MAX);
    String::from_utf8_lossy(&text).split_whitespace().map(str::to_owned).collect()
}

/// `4:memory:/x` and `0::/y`.
pub(super) fn parse_membership(text: &str) -> Vec<(String, PathBuf)> {
    let row = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        Some((controllers.to_owned(), PathBuf::from(path)))
    };
    text.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    /// A directory that looks like a tree of version 2 to who only reads it.
    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            tree.cgroup("", "cpu memory pids", "", "1\n");
            tree
        }

        fn cgroup(&self, path: &str, controllers: &str, on: &str, processes: &str) -> PathBuf {
            let dir = self.0.path().join(path);
            fs::create_dir_all(&dir).unwrap();
            let files = [("controllers", controllers), ("subtree_control", on), ("procs", processes)];
            for (name, text) in files {
                fs::write(dir.join(format!("cgroup.{name}")), text).unwrap();
            }
            dir
        }

        fn machine(&self, own: &str, at_top: bool) -> Machine {
            let point = self.0.path().to_owned();
            let unified = Hierarchy { point, root: "/".into(), legacy: false, options: Vec::new() };
            let membership = parse_membership(&format!("0::{own}\n"));
            Machine { hierarchies: vec![unified], membership, at_top }
        }

        fn path(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }
    }

    fn memory() -> Limits {
        Limits { memory: Some(1 << 20), pids: Some(5), ..Limits::default() }
    }

    #[test]
    fn root_makes_its_cgroups_at_the_top_of_version_2() {
        let tree = Tree::new();
        let plan = tree.machine("/", true).plan(&memory(), None, "x").unwrap();
        let on = "+memory +pids".to_owned();
        assert_eq!(
            plan.enable,
            [
                (tree.path("cgroup.subtree_control"), on.clone()),
                (tree.path("galley/cgroup.subtree_control"), on)
            ]
        );
        assert_eq!(plan.leaves.len(), 1);
        assert_eq!(plan.leaves[0].dir, tree.path("galley/x"));
        assert_eq!(plan.leaves[0].writes.len(), 3);
        assert_eq!(Plan::from_bytes(&plan.to_bytes()), Some(plan));
    }

    #[test]
    fn a_user_gets_the_nearest_delegated_cgroup_without_processes() {
        let tree = Tree::new();
        tree.cgroup("user", "cpu memory pids", "memory pids", "");
        tree.cgroup("user/app", "memory pids", "memory pids", "");
        tree.cgroup("user/app/shell", "memory pids", "", "1\n2\n");
        let plan = tree.machine("/user/app/shell", false).plan(&memory(), None, "x").unwrap();
        assert_eq!(plan.leaves[0].dir, tree.path("user/app/x"));
        // Somebody has switched the controllers on there already; above it is not looked at by who delegates.
        assert!(plan.enable.iter().all(|(file, _)| !file.starts_with(tree.path("user/app"))));
        // The processor is only there one further up.
        let cpu = Limits { cpu_shares: Some(2), ..Limits::default() };
        let plan = tree.machine("/user/app/shell", false).plan(&cpu, None, "x").unwrap();
        assert_eq!(plan.leaves[0].dir, tree.path("user/x"));
    }

    #[test]
    fn galley_moves_down_once() {
        let tree = Tree::new();
        tree.cgroup("app", "memory pids", "memory pids", "");
        let own = tree.cgroup("app/galley-supervisor", "memory pids", "", &std::process::id().to_string());
        let plan = tree.machine("/app/galley-supervisor", false).plan(&memory(), None, "x").unwrap();
        assert_eq!(plan.leaves[0].dir, tree.path("app/x"));
        assert!(!own.join(SUPERVISOR).exists(), "each start would be one further down");
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        let tree = Tree::new();
        tree.cgroup("session", "memory pids", "", "1\n2\n");
        let refused = |limits: &Limits| tree.machine("/session", false).plan(limits, None, "x").unwrap_err();
        assert!(matches!(refused(&memory()), Refusal::NotDelegated { .. }));
        let cpuset = Limits { cpuset_cpus: Some("0".into()), ..Limits::default() };
        assert!(matches!(refused(&cpuset), Refusal::NoController { controller: "cpuset" }));
        let nothing = Machine { hierarchies: Vec::new(), membership: Vec::new(), at_top: true };
        assert!(matches!(nothing.plan(&memory(), None, "x"), Err(Refusal::NoController { .. })));
        assert!(matches!(
            tree.machine("/elsewhere", false).plan(&memory(), None, "x"),
            Err(Refusal::Elsewhere { .. })
        ));
    }

    #[test]
    fn a_cgroup_of_version_2_gets_further_controllers_where_it_is() {
        let tree = Tree::new();
        let machine = tree.machine("/", true);
        let pids = Limits { pids: Some(5), ..Limits::default() };
        let standing = machine.plan(&pids, None, "x").unwrap();
        // It has what the top has switched on for it.
        tree.cgroup("galley", "pids", "pids", "");
        let more = machine.more(&standing, &memory(), None, "x").unwrap();
        assert_eq!(more.leaves[0].dir, standing.leaves[0].dir);
        assert!(more.leaves[0].writes.is_empty(), "written when all stand");
        assert!(more.enable.contains(&(tree.path("galley/cgroup.subtree_control"), "+memory".to_owned())));
        assert_eq!((more.without(&standing).leaves.len(), standing.with(&more).leaves.len()), (0, 1));
        let more = |limits: &Limits| machine.more(&standing, limits, None, "x");
        let cpu = Limits { cpu_shares: Some(2), ..Limits::default() };
        let enable = more(&cpu).unwrap().enable;
        assert!(enable.contains(&(tree.path("cgroup.subtree_control"), "+cpu".to_owned())), "{enable:?}");
        assert!(enable.contains(&(tree.path("galley/cgroup.subtree_control"), "+cpu".to_owned())));
        let cpuset = Limits { cpuset_cpus: Some("0".into()), ..Limits::default() };
        assert!(matches!(more(&cpuset), Err(Refusal::NoController { controller: "cpuset" })));
    }

    #[test]
    fn below_a_parent_further_controllers_are_switched_on_from_the_top() {
        let tree = Tree::new();
        let parent = CgroupParent::new(Path::new("/batch")).unwrap();
        let pids = Limits { pids: Some(5), ..Limits::default() };
        let machine = tree.machine("/", true);
        let standing = machine.plan(&pids, Some(&parent), "x").unwrap();
        tree.cgroup("batch", "pids", "pids", "");
        let more = machine.more(&standing, &memory(), Some(&parent), "x").unwrap();
        assert!(more.enable.contains(&(tree.path("batch/cgroup.subtree_control"), "+memory".to_owned())));
    }

    #[test]
    fn a_delegated_cgroup_gets_what_was_delegated() {
        let tree = Tree::new();
        tree.cgroup("user", "memory pids", "pids", "");
        tree.cgroup("user/shell", "pids", "", "1\n2\n");
        let machine = tree.machine("/user/shell", false);
        let pids = Limits { pids: Some(5), ..Limits::default() };
        let standing = machine.plan(&pids, None, "x").unwrap();
        let more = machine.more(&standing, &memory(), None, "x").unwrap();
        assert!(more.enable.contains(&(tree.path("user/cgroup.subtree_control"), "+memory".to_owned())));
        let cpu = Limits { cpu_shares: Some(2), ..Limits::default() };
        assert!(matches!(
            machine.more(&standing, &cpu, None, "x"),
            Err(Refusal::NotDelegated { controller: "cpu", .. })
        ));
    }

    #[test]
    fn version_1_has_a_tree_for_each_controller_below_ones_own() {
        let tree = Tree::new();
        let own = tree.cgroup("mem/own", "", "", "");
        tree.cgroup("both", "", "", "");
        let legacy = |path: &str, options: &str| Hierarchy {
            point: tree.path(path),
            root: "/".into(),
            legacy: true,
            options: options.split(',').map(str::to_owned).collect(),
        };
        let machine = Machine {
            hierarchies: vec![legacy("mem", "rw,memory"), legacy("both", "rw,cpu,pids")],
            membership: parse_membership("4:memory:/own\n3:cpu,pids:/\n"),
            at_top: true,
        };
        let limits = Limits { cpu_shares: Some(2), ..memory() };
        let plan = machine.plan(&limits, None, "x").unwrap();
        let dirs: Vec<&PathBuf> = plan.leaves.iter().map(|leaf| &leaf.dir).collect();
        assert_eq!(dirs, [&own.join("x"), &tree.path("both/x")]);
        assert_eq!(plan.leaves[1].writes.len(), 2, "one cgroup for both controllers");
        // What stands stays, and the rest goes beside it.
        let pids = Limits { pids: Some(5), ..Limits::default() };
        let standing = machine.plan(&pids, None, "x").unwrap();
        let more = machine.more(&standing, &limits, None, "x").unwrap();
        let dirs: Vec<&PathBuf> = more.leaves.iter().map(|leaf| &leaf.dir).collect();
        assert_eq!(dirs, [&own.join("x"), &tree.path("both/x")]);
        assert_eq!(more.leaves[1].controllers, ["cpu"]);
        let all = standing.with(&more);
        assert_eq!((all.leaves.len(), more.without(&standing).leaves.len()), (2, 1));
        assert_eq!(machine.more(&all, &limits, None, "x").unwrap(), Plan::default());
        let parent = CgroupParent::new(Path::new("/batch")).unwrap();
        let plan = machine.plan(&limits, Some(&parent), "x").unwrap();
        assert_eq!(plan.leaves[0].dir, tree.path("mem/batch/x"));
    }
}
