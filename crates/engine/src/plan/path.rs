//! Paths of images as bytes, joined and cleaned the way Go's `path` does.

/// `a/../b//c/.` becomes `b/c`; `..` at the root vanishes. The result is absolute and has no slash at its end.
pub(super) fn absolute(base: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The directory WORKDIR leads to, as the config shows it: an absolute path stays as it was written.
pub(super) fn normal_directory(base: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { absolute(base, path) }
}

/// A destination of COPY: absolute, and the slash (or `/.`) that asks for a directory stays as one slash.
pub(super) fn destination(base: &str, path: &str) -> String {
    let wants_directory = path.is_empty() || path == "." || path.ends_with('/') || path.ends_with("/.");
    let mut absolute = absolute(base, path);
    if wants_directory && !absolute.ends_with('/') {
        absolute.push('/');
    }
    absolute
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joining() {
        let cases = [
            ("/", "a", "/a"),
            ("/a", "../..", "/"),
            ("/a", "/b/./c//d/..", "/b/c"),
            ("/a", "", "/a"),
            ("", "x/", "/x"),
            ("/a", "~", "/a/~"),
        ];
        for (base, path, wanted) in cases {
            assert_eq!(absolute(base, path), wanted, "{base} {path}");
        }
    }

    #[test]
    fn destinations_keep_their_slash() {
        let cases = [
            ("/w", ".", "/w/"),
            ("/w", "./", "/w/"),
            ("/w", "a", "/w/a"),
            ("/w", "a/", "/w/a/"),
            ("/w", "a/.", "/w/a/"),
            ("/", "/", "/"),
            ("/w", "..", "/"),
        ];
        for (base, path, wanted) in cases {
            assert_eq!(destination(base, path), wanted, "{base} {path}");
        }
    }
}
