//! The keys of each type, and what is refused.

use super::{
    BindMount, CacheMount, FileOwner, Mount, SecretMount, Sharing, SshMount, TmpfsMount, parse, size,
};
use crate::error::Error;
use crate::expand::Expander;
use crate::span::{Span, Word};

fn read(text: &str) -> Result<Mount, Error> {
    let environment = |name: &str| (name == "DIR").then(|| "/var/lib".to_owned());
    parse(&Word::new(text, Span::new(0, text.len())), &Expander::new('\\', &environment))
}

fn cache(target: &str) -> CacheMount {
    CacheMount {
        target: target.to_owned(),
        id: None,
        sharing: Sharing::Shared,
        from: None,
        source: String::new(),
        read_only: false,
        owner: FileOwner::default(),
    }
}

#[test]
fn binds() {
    let bind = |target: &str, source: &str, from: Option<&str>, read_only| {
        let (target, source) = (target.to_owned(), source.to_owned());
        Mount::Bind(BindMount { target, source, from: from.map(str::to_owned), read_only })
    };
    for (text, mount) in [
        ("target=/a", bind("/a", "", None, true)),
        ("source=b", bind("", "b", None, true)),
        ("type=bind,dst=a,src=b,from=c,rw", bind("a", "b", Some("c"), false)),
        ("destination=/a,source=b,readwrite=true", bind("/a", "b", None, false)),
        ("target=/a,rw,ro", bind("/a", "", None, true)),
        ("target=/a,ro=false", bind("/a", "", None, false)),
        ("target=/a,target=/b", bind("/b", "", None, true)),
        ("TYPE=Bind,Target=$DIR/x", bind("/var/lib/x", "", None, true)),
        ("\"target=/a,b\",\"source=c\"", bind("/a,b", "c", None, true)),
        ("\"target=/a,\\\"\"b\"", bind("/a,\"b", "", None, true)),
    ] {
        assert_eq!(read(text), Ok(mount), "{text}");
    }
}

#[test]
fn caches() {
    assert_eq!(read("type=cache,target=/go"), Ok(Mount::Cache(cache("/go"))));
    let owner = FileOwner { mode: Some(0o700), uid: Some(1000), gid: Some(7) };
    let full = CacheMount {
        id: Some("go".to_owned()),
        sharing: Sharing::Locked,
        from: Some("base".to_owned()),
        source: "/seed".to_owned(),
        read_only: true,
        owner,
        ..cache("/go")
    };
    let text =
        "type=cache,id=go,target=/go,sharing=LOCKED,from=base,source=/seed,ro,mode=0700,uid=1000,gid=7";
    assert_eq!(read(text), Ok(Mount::Cache(full)));
}

#[test]
fn tmpfs_sizes() {
    let tmpfs = |size| Ok(Mount::Tmpfs(TmpfsMount { target: "/t".to_owned(), size, read_only: false }));
    assert_eq!(read("type=tmpfs,target=/t"), tmpfs(None));
    assert_eq!(read("type=tmpfs,target=/t,size=1.5g"), tmpfs(Some(3 << 29)));
    for (text, bytes) in [
        ("0", Some(0)),
        ("10", Some(10)),
        ("1k", Some(1024)),
        ("64MB", Some(64 << 20)),
        ("2 GiB", Some(2 << 30)),
    ] {
        assert_eq!(size(text), bytes, "{text}");
    }
    for text in ["", "k", "-1", "1x", "1e3", "inf", "nan", "1.2.3", "99999999999p"] {
        assert_eq!(size(text), None, "{text}");
    }
}

#[test]
fn secrets() {
    let secret = |id: &str, target: Option<&str>, env: Option<&str>| SecretMount {
        id: id.to_owned(),
        target: target.map(str::to_owned),
        env: env.map(str::to_owned),
        required: false,
        owner: FileOwner::default(),
    };
    for (text, mount) in [
        ("type=secret,id=a/b", secret("a/b", Some("/run/secrets/b"), None)),
        ("type=secret,target=/x/key", secret("key", Some("/x/key"), None)),
        ("type=secret,source=s", secret("s", Some("/run/secrets/s"), None)),
        ("type=secret,id=a,env=TOKEN", secret("a", None, Some("TOKEN"))),
        ("type=secret,id=a,env=T,target=/t", secret("a", Some("/t"), Some("T"))),
    ] {
        assert_eq!(read(text), Ok(Mount::Secret(mount)), "{text}");
    }
    let required = SecretMount { required: true, ..secret("a", Some("/run/secrets/a"), None) };
    assert_eq!(read("type=secret,required,id=a"), Ok(Mount::Secret(required)));
}

#[test]
fn ssh() {
    let ssh = |id: &str, required| {
        Ok(Mount::Ssh(SshMount { id: id.to_owned(), target: None, required, owner: FileOwner::default() }))
    };
    assert_eq!(read("type=ssh"), ssh("default", false));
    assert!(read("type=ssh,ro=maybe").is_err());
    assert_eq!(read("type=ssh,id=k,required=true"), ssh("k", true));
}

#[test]
fn what_is_refused() {
    for (text, message, help) in [
        (
            "type=cahce,target=/a",
            "`cahce` is not a value of the mount's key `type`",
            Some("did you mean `cache`?"),
        ),
        ("tagret=/a", "unknown key `tagret` of a mount", Some("did you mean `target`?")),
        (
            "type=cache,target=/a,sharing=lock",
            "`lock` is not a value of the mount's key `sharing`",
            Some("did you mean `locked`?"),
        ),
        ("type=cache,target", "the mount's key `target` needs a value", Some("write target=VALUE")),
        ("type=secret,env=A", "a secret mount needs an id or a target", Some("write id=NAME")),
        ("type=secret,id=a,env=", "the mount's key `env` needs a value", Some("write env=NAME")),
        ("type=secret,id=a,from=b", "a secret mount has no `from`", None),
        ("type=bind,target=/a,uid=1", "a bind mount has no `uid`", None),
        ("target=/a,required", "a bind mount has no `required`", None),
        (
            "target=/a,size=1",
            "a bind mount has no `size`",
            Some("`size` belongs to type=tmpfs, which has to stand before it"),
        ),
        (
            "required,id=a,type=secret",
            "a bind mount has no `required`",
            Some("`required` belongs to type=secret and type=ssh, which has to stand before it"),
        ),
        ("type=ssh,source=a", "a ssh mount has no `source`", Some("an agent is named with id=")),
        (
            "type=tmpfs,target=/a,size=x",
            "`x` is not a value of the mount's key `size`",
            Some("known are bytes, or a number with k, m, g, t"),
        ),
        (
            "type=cache,target=/a,mode=8",
            "`8` is not a value of the mount's key `mode`",
            Some("write an octal number, such as 0755"),
        ),
        (
            "type=cache,target=/a,uid=-1",
            "`-1` is not a value of the mount's key `uid`",
            Some("write a number"),
        ),
        (
            "target=/a,ro=maybe",
            "`maybe` is not a value of the mount's key `readonly`",
            Some("known are true, false"),
        ),
        (
            "target=\"/a\"",
            "the quotes of the mount `target=\"/a\"` cannot be read",
            Some("quote a whole field, and write a quote inside of it twice"),
        ),
        ("", "unknown key `` of a mount", None),
    ] {
        let error = read(text).expect_err(text);
        assert_eq!(error.message(), message, "{text}");
        if help.is_some() {
            assert_eq!(error.help(), help, "{text}");
        }
    }
}
