//! Who a process says it is.

use std::collections::HashMap;

use rustix::io::Errno;

/// What a set-id call takes for "leave it".
pub(super) const KEEP: u32 = u32::MAX;

/// More identities than any program has; each costs some bytes.
const TABLE_MAX: usize = 1 << 16;
/// Groups of all identities together, which are what takes memory.
const ALL_GROUPS_MAX: usize = 1 << 20;
/// Groups that a process can have, as in the kernel.
pub(super) const GROUPS_MAX: usize = 65536;

/// The upper half of the resource limit in which a process carries the number of its identity.
const TOKEN: u64 = 0x6761_6c6c << 32;

/// The four user or group ids of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Set {
    pub(super) real: u32,
    pub(super) effective: u32,
    pub(super) saved: u32,
    /// What new files get.
    pub(super) files: u32,
}

impl Set {
    const fn has(self, id: u32) -> bool {
        self.real == id || self.effective == id || self.saved == id
    }

    /// setuid, setgid.
    pub(super) fn set(self, id: u32, privileged: bool) -> Result<Self, Errno> {
        if id == KEEP {
            return Err(Errno::INVAL);
        }
        if privileged {
            return Ok(Self { real: id, effective: id, saved: id, files: id });
        }
        if self.real != id && self.saved != id {
            return Err(Errno::PERM);
        }
        Ok(Self { effective: id, files: id, ..self })
    }

    /// setreuid, setregid.
    pub(super) fn set_two(self, real: u32, effective: u32, privileged: bool) -> Result<Self, Errno> {
        let mut new = self;
        if real != KEEP {
            new.real = real;
            if !privileged && self.real != real && self.effective != real {
                return Err(Errno::PERM);
            }
        }
        if effective != KEEP {
            new.effective = effective;
            if !privileged && !self.has(effective) {
                return Err(Errno::PERM);
            }
        }
        if real != KEEP || (effective != KEEP && effective != self.real) {
            new.saved = new.effective;
        }
        Ok(Self { files: new.effective, ..new })
    }

    /// setresuid, setresgid.
    pub(super) fn set_three(self, ids: [u32; 3], privileged: bool) -> Result<Self, Errno> {
        if !privileged && ids.iter().any(|&id| id != KEEP && !self.has(id)) {
            return Err(Errno::PERM);
        }
        let or = |id: u32, old: u32| if id == KEEP { old } else { id };
        let [real, effective, saved] = ids;
        let effective = or(effective, self.effective);
        Ok(Self { real: or(real, self.real), effective, saved: or(saved, self.saved), files: effective })
    }

    /// setfsuid, setfsgid: what is not allowed changes nothing.
    pub(super) const fn set_files(self, id: u32, privileged: bool) -> Self {
        let allowed = privileged || self.has(id) || self.files == id;
        if id != KEEP && allowed { Self { files: id, ..self } } else { self }
    }

    /// What a new program has, of a file that may bring an id of its own.
    const fn executed(self, brought: Option<u32>) -> Self {
        let id = match brought {
            Some(id) => id,
            None => self.effective,
        };
        Self { effective: id, saved: id, files: id, ..self }
    }
}

/// The whole identity of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Ids {
    pub(super) user: Set,
    pub(super) group: Set,
    pub(super) groups: Vec<u32>,
    /// PR_SET_KEEPCAPS: leaving root's id takes no rights.
    pub(super) keeps: bool,
    /// It left root's id and took the rights along.
    pub(super) capable: bool,
}

impl Ids {
    /// Whether it may change ids, and give files away.
    pub(super) const fn privileged(&self) -> bool {
        self.user.effective == 0 || self.capable
    }

    /// It with other user ids.
    pub(super) fn with_user(self, user: Set) -> Self {
        let leaves_root = self.user.has(0) && !user.has(0);
        let capable = if leaves_root { self.keeps } else { self.capable && !user.has(0) };
        Self { user, capable, ..self }
    }

    /// What a new program has, of a file that may bring ids of its own.
    pub(super) fn executed(self, user: Option<u32>, group: Option<u32>) -> Self {
        let (user, group) = (self.user.executed(user), self.group.executed(group));
        Self { user, group, keeps: false, capable: false, ..self }
    }

    /// Whether it gives files away as root does.
    pub(super) const fn gives_files(&self) -> bool {
        self.user.files == 0 || self.capable
    }

    /// Whether it may make this change of a file's owner, which is `(user, group)` now, without being privileged; [`KEEP`]
    /// leaves an id.
    pub(super) fn may_give(&self, now: (u32, u32), user: u32, group: u32) -> bool {
        let owns = now.0 == self.user.files;
        let own_group = group == self.group.files || self.groups.contains(&group);
        (user == KEEP || (owns && user == now.0))
            && (group == KEEP || (owns && (own_group || group == now.1)))
    }
}

/// All identities that processes of one sandbox have had. Number 0 is root, without groups.
pub(super) struct Table {
    known: Vec<Ids>,
    /// Of all of them together.
    groups: usize,
    numbers: HashMap<Ids, usize>,
}

impl Table {
    pub(super) fn new() -> Self {
        let root = Ids::default();
        Self { known: vec![root.clone()], groups: 0, numbers: HashMap::from([(root, 0)]) }
    }

    /// The identity that a resource limit speaks of; root's, when it is none of ours.
    pub(super) fn find(&self, limit: u64) -> &Ids {
        let number = limit.checked_sub(TOKEN).and_then(|number| usize::try_from(number).ok());
        number.and_then(|number| self.known.get(number)).unwrap_or(&self.known[0])
    }

    /// The resource limit that speaks of an identity.
    pub(super) fn limit(&mut self, ids: Ids) -> Result<u64, Errno> {
        if let Some(number) = self.numbers.get(&ids) {
            return Ok(TOKEN + *number as u64);
        }
        let groups = self.groups + ids.groups.len();
        if self.known.len() >= TABLE_MAX || groups > ALL_GROUPS_MAX {
            return Err(Errno::AGAIN);
        }
        self.groups = groups;
        let number = self.known.len();
        self.known.push(ids.clone());
        self.numbers.insert(ids, number);
        Ok(TOKEN + number as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(real: u32, effective: u32, saved: u32) -> Set {
        Set { real, effective, saved, files: effective }
    }

    #[test]
    fn root_becomes_anybody_and_cannot_go_back() {
        let user = Set::default().set(7, true).unwrap();
        assert_eq!(user, set(7, 7, 7));
        assert_eq!(user.set(0, false), Err(Errno::PERM));
        assert_eq!(user.set_two(KEEP, 0, false), Err(Errno::PERM));
        assert_eq!(user.set_three([KEEP, 0, KEEP], false), Err(Errno::PERM));
        assert_eq!(user.set_files(0, false), user);
    }

    #[test]
    fn what_is_saved_can_be_taken_again() {
        let user = Set::default().set_three([KEEP, 7, KEEP], true).unwrap();
        assert_eq!(user, set(0, 7, 0));
        assert_eq!(user.set(0, false).unwrap(), set(0, 0, 0));
        assert_eq!(set(7, 8, 9).set(9, false).unwrap(), set(7, 9, 9));
        assert_eq!(set(7, 8, 9).set_two(8, 7, false).unwrap(), set(8, 7, 7));
    }

    #[test]
    fn a_program_brings_its_owner() {
        assert_eq!(set(7, 8, 9).executed(None), set(7, 8, 8));
        assert_eq!(set(7, 7, 7).executed(Some(0)), set(7, 0, 0));
    }

    #[test]
    fn rights_stay_when_they_are_kept() {
        let root = Ids { keeps: true, ..Ids::default() };
        let user = root.clone().with_user(set(7, 7, 7));
        assert!(user.privileged() && user.gives_files());
        assert!(!user.executed(None, None).privileged());
        assert!(!Ids::default().with_user(set(7, 7, 7)).privileged());
        assert!(!root.with_user(set(0, 7, 0)).privileged());
    }

    #[test]
    fn only_the_owner_gives_a_file_to_its_own_groups() {
        let user = Ids { user: set(7, 7, 7), group: set(7, 7, 7), groups: vec![9], ..Ids::default() };
        assert!(user.may_give((7, 7), KEEP, 9) && user.may_give((7, 1), 7, 7));
        for (now, user_id, group) in [((7, 7), KEEP, 8), ((7, 7), 8, KEEP), ((0, 0), 7, 7), ((0, 7), KEEP, 7)]
        {
            assert!(!user.may_give(now, user_id, group), "{now:?} {user_id} {group}");
        }
        assert!(Ids::default().gives_files() && !user.gives_files());
    }

    #[test]
    fn a_limit_says_who_it_is() {
        let mut table = Table::new();
        let nobody = Ids { user: set(65534, 65534, 65534), ..Ids::default() };
        let limit = table.limit(nobody.clone()).unwrap();
        assert_eq!(table.limit(nobody.clone()).unwrap(), limit);
        assert_eq!(table.find(limit), &nobody);
        for foreign in [0, u64::MAX, limit + 1, TOKEN - 1] {
            assert_eq!(table.find(foreign), &Ids::default());
        }
        let many = |uid| Ids { user: set(uid, 0, 0), groups: vec![uid; GROUPS_MAX], ..Ids::default() };
        assert_eq!((0..100).find_map(|uid| table.limit(many(uid)).err()), Some(Errno::AGAIN));
    }
}
