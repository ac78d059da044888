use super::*;

fn tree(text: &str) -> Vec<SyntaxNode> {
    plan::tree("Dockerfile", text.as_bytes()).unwrap()
}

/// One line of JSON for each instruction.
fn compact(text: &str) -> Vec<String> {
    let line = |node| serde_json::to_string(&Statement::new(node)).unwrap();
    tree(text).iter().map(line).collect()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(compact(text), expected, "{text}");
}

#[test]
fn every_instruction_is_cut_as_docker_cuts_it() {
    for (text, expected) in [
        (
            "FROM --platform=$BUILDPLATFORM golang:1.22 AS Build",
            r#"{"name":"from","flags":["--platform=$BUILDPLATFORM"],"args":["golang:1.22","AS","Build"]}"#,
        ),
        (r#"ARG A B= C="x y" D=$A"#, r#"{"name":"arg","flags":[],"args":["A","B=","C=\"x y\"","D=$A"]}"#),
        (r#"ENV A=b C="d  e" F=g\ h"#, r#"{"name":"env","flags":[],"args":["A=b","C=\"d  e\"","F=g\\ h"]}"#),
        ("ENV A b  c=d", r#"{"name":"env","flags":[],"args":["A","b  c=d"]}"#),
        ("LABEL a.b=c d='e f'", r#"{"name":"label","flags":[],"args":["a.b=c","d='e f'"]}"#),
        (
            "RUN --mount=type=cache,target=/c --network=none go  build ./...",
            r#"{"name":"run","flags":["--mount=type=cache,target=/c","--network=none"],"args":["go  build ./..."]}"#,
        ),
        (r#"run ["a", "b c"]"#, r#"{"name":"run","flags":[],"args":["a","b c"],"json":true}"#),
        ("RUN [ -f a ]", r#"{"name":"run","flags":[],"args":["[ -f a ]"]}"#),
        (
            r#"COPY --from=x --chown="a:b" --link a  b /c/"#,
            r#"{"name":"copy","flags":["--from=x","--chown=a:b","--link"],"args":["a","b","/c/"]}"#,
        ),
        (r#"COPY ["a b", "c"]"#, r#"{"name":"copy","flags":[],"args":["a b","c"],"json":true}"#),
        (
            "ADD --checksum=sha256:00 https://example.com/$V.tar /",
            r#"{"name":"add","flags":["--checksum=sha256:00"],"args":["https://example.com/$V.tar","/"]}"#,
        ),
        ("WORKDIR /a b", r#"{"name":"workdir","flags":[],"args":["/a b"]}"#),
        ("USER $U:10", r#"{"name":"user","flags":[],"args":["$U:10"]}"#),
        ("EXPOSE 90/tcp 80", r#"{"name":"expose","flags":[],"args":["90/tcp","80"]}"#),
        ("VOLUME /b /a", r#"{"name":"volume","flags":[],"args":["/b","/a"]}"#),
        (r#"VOLUME ["/a"]"#, r#"{"name":"volume","flags":[],"args":["/a"],"json":true}"#),
        (r#"SHELL ["/bin/sh", "-c"]"#, r#"{"name":"shell","flags":[],"args":["/bin/sh","-c"],"json":true}"#),
        ("STOPSIGNAL SIGQUIT", r#"{"name":"stopsignal","flags":[],"args":["SIGQUIT"]}"#),
        ("HEALTHCHECK NONE", r#"{"name":"healthcheck","flags":[],"args":["NONE"]}"#),
        (
            "HEALTHCHECK --interval=5s CMD curl  localhost",
            r#"{"name":"healthcheck","flags":["--interval=5s"],"args":["CMD","curl  localhost"]}"#,
        ),
        (
            r#"HEALTHCHECK CMD ["a", "b"]"#,
            r#"{"name":"healthcheck","flags":[],"args":["CMD","a","b"],"json":true}"#,
        ),
        ("ENTRYPOINT a $B", r#"{"name":"entrypoint","flags":[],"args":["a $B"]}"#),
        ("ENTRYPOINT []", r#"{"name":"entrypoint","flags":[],"args":[],"json":true}"#),
        ("CMD", r#"{"name":"cmd","flags":[],"args":[]}"#),
        (r#"CMD ["a\u0041"]"#, r#"{"name":"cmd","flags":[],"args":["aA"],"json":true}"#),
        ("MAINTAINER A  B", r#"{"name":"maintainer","flags":[],"args":["A  B"]}"#),
        (
            "ONBUILD COPY --from=x a b",
            r#"{"name":"onbuild","flags":[],"args":[],"child":{"name":"copy","flags":["--from=x"],"args":["a","b"]}}"#,
        ),
    ] {
        check(text, &[expected]);
    }
}

#[test]
fn heredocs_keep_their_mark_and_their_text() {
    check(
        "RUN <<-'A' cat && <<B cat\n\tone\n$two\nA\nB\nCOPY <<a.txt b /c/\nx\na.txt\nONBUILD RUN <<E\ny\nE\n",
        &[
            r#"{"name":"run","flags":[],"args":["<<-'A' cat && <<B cat"],"heredocs":[{"name":"A","content":"\tone\n$two\n"},{"name":"B","content":""}]}"#,
            r#"{"name":"copy","flags":[],"args":["<<a.txt","b","/c/"],"heredocs":[{"name":"a.txt","content":"x\n"}]}"#,
            r#"{"name":"onbuild","flags":[],"args":[],"child":{"name":"run","flags":[],"args":["<<E"],"heredocs":[{"name":"E","content":"y\n"}]}}"#,
        ],
    );
}

#[test]
fn lines_are_joined_and_the_escape_directive_holds() {
    check(
        "# escape=`\nENV A=b` c D=\\\nRUN one `\n  # comment\n  two\n",
        &[
            r#"{"name":"env","flags":[],"args":["A=b` c","D=\\"]}"#,
            r#"{"name":"run","flags":[],"args":["one   two"]}"#,
        ],
    );
}

#[test]
fn plain_lines_begin_with_their_number() {
    let text = "# first\nFROM a\n\nCOPY --link \\\n  a b /\nHEALTHCHECK CMD [\"x y\"]\nONBUILD RUN [\"z\"]\nCMD a  b\n";
    let expected =
        "2:from a\n4:copy --link a b /\n6:healthcheck CMD [\"x y\"]\n7:onbuild run [\"z\"]\n8:cmd a  b\n";
    assert_eq!(plain(&tree(text)), expected);
}

#[test]
fn what_is_wrong_has_its_place() {
    let error = plan::tree("x/Dockerfile", b"FROM a\nCOPPY a b\n").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Input);
    let place = error.place.clone().unwrap();
    assert_eq!((&*place.file, place.line(), place.column()), ("x/Dockerfile", 2, 1));
}

/// Each line of a Dockerfile of the examples that begins with an instruction is a node, in the same order.
#[test]
fn the_examples_parse() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut files = 0;
    for folder in fs::read_dir(examples).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let known = path.file_name().unwrap().to_string_lossy().into_owned();
            // As it was printed, one has the rule of its document in it, and is no Dockerfile.
            if !known.starts_with("Dockerfile") || known == "Dockerfile.as-printed" {
                continue;
            }
            let (name, text) = read(&path).unwrap();
            let nodes = plan::tree(&name, &text).unwrap();
            let text = String::from_utf8(text).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            for node in &nodes {
                let keyword = lines[node.line - 1].split_whitespace().next().unwrap();
                assert_eq!(keyword.to_lowercase(), node.name, "{name}:{}", node.line);
            }
            let from = lines.iter().filter(|line| line.starts_with("FROM ")).count();
            assert_eq!(nodes.iter().filter(|node| node.name == "from").count(), from, "{name}");
            files += 1;
        }
    }
    assert!(files >= 9, "only {files} Dockerfiles below examples");
}
