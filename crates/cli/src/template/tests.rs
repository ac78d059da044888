use proptest::prelude::*;
use serde_json::json;

use super::*;

fn render(template: &str, data: &Value) -> String {
    match Template::parse(template).and_then(|template| template.render(data)) {
        Ok(text) => text,
        Err(error) => format!("error at {:?}: {error}", error.span),
    }
}

fn image() -> Value {
    json!({
        "Repository": "site", "Tag": "latest", "Size": "808MB", "Layers": ["a", "b"], "Count": 3,
        "Config": { "Labels": { "a.b": "c", "vendor": "x" }, "Env": ["PATH=/bin", "A=b"], "Cmd": null },
        "NetworkSettings": { "Ports": { "8080/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "32768" }] } },
    })
}

#[test]
fn the_documents_format() {
    assert_eq!(render("{{.Repository}}:{{.Tag}} -> {{.Size}}", &image()), "site:latest -> 808MB");
}

#[test]
fn what_people_write() {
    let cases = [
        ("{{json .Layers}}", r#"["a","b"]"#),
        ("{{ .Layers | json }}", r#"["a","b"]"#),
        ("{{upper .Tag}} {{.Tag | title}}", "LATEST Latest"),
        ("{{join .Layers \",\"}}", "a,b"),
        ("{{range .Layers}}<{{.}}>{{end}}", "<a><b>"),
        ("{{range $i, $e := .Layers}}{{if $i}},{{end}}{{$i}}={{$e}}{{end}}", "0=a,1=b"),
        ("{{range .Config.Env}}{{println .}}{{end}}", "PATH=/bin\nA=b\n"),
        ("{{range .Config.Cmd}}x{{else}}none{{end}}", "none"),
        ("{{with .Tag}}[{{.}}]{{end}}", "[latest]"),
        ("{{index .Config.Labels \"a.b\"}}|{{index .Config.Labels \"no\"}}|", "c||"),
        ("{{.Config.Labels.vendor}} {{.Config.Labels.no}}", "x <no value>"),
        ("{{(index (index .NetworkSettings.Ports \"8080/tcp\") 0).HostPort}}", "32768"),
        (
            "{{range $p, $c := .NetworkSettings.Ports}}{{$p}} -> {{(index $c 0).HostPort}}{{end}}",
            "8080/tcp -> 32768",
        ),
        ("{{if and (eq .Tag \"latest\") (gt .Count 2)}}yes{{else}}no{{end}}", "yes"),
        ("{{if false}}a{{else if true}}b{{else}}c{{end}}", "b"),
        ("{{len .Layers}} {{slice .Tag 0 3}} {{truncate .Tag 2}}", "2 lat la"),
        ("{{printf \"%-8s|%5d|%q|%.2s|%%\" .Tag .Count .Size .Tag}}", "latest  |    3|\"808MB\"|la|%"),
        ("a {{- /* comment */ -}} b", "ab"),
        ("a {{- .Tag -}} b", "alatestb"),
        ("{{$x := .Tag}}{{$x}}{{$.Size}}", "latest808MB"),
        ("{{.Layers}} {{.Config.Labels}}", "[a b] map[a.b:c vendor:x]"),
        ("{{split \"a:b\" \":\" | len}}", "2"),
        ("no action at all", "no action at all"),
    ];
    for (template, expected) in cases {
        assert_eq!(render(template, &image()), expected, "{template}");
    }
}

#[test]
fn what_is_empty_prints_as_in_docker() {
    let data = json!({
        "Id": "abc", "Count": null,
        "Config": { "User": "", "Cmd": null, "Labels": null, "ExposedPorts": null, "Healthcheck": null, "Env": ["a"] },
        "HostConfig": { "Dns": null, "PidsLimit": null },
        "Client": { "ApiVersion": "none" },
        "NetworkSettings": { "Networks": { "bridge": { "IPAddress": "", "Aliases": null } } },
    });
    let cases = [
        ("[{{.Config.User}}]", "[]"),
        ("{{.Config.Cmd}} {{.Config.Labels}} {{.Config.ExposedPorts}}", "[] map[] map[]"),
        ("{{json .Config.Cmd}} {{.Config.Labels | json}} {{json .Config.Healthcheck}}", "null null null"),
        ("{{.Config.Healthcheck}} {{.HostConfig.PidsLimit}}", "<nil> <nil>"),
        ("{{if .Config.Healthcheck}}yes{{else}}no{{end}}", "no"),
        ("{{if .Config.Labels}}yes{{else}}no{{end}}", "no"),
        ("[{{index .Config.Labels \"x\"}}]", "[]"),
        ("{{.Config.Labels.x}} {{.Config.Labels.Cmd}}", "<no value> <no value>"),
        ("{{len .Config.Cmd}}{{len .Config.ExposedPorts}}{{range .Config.Cmd}}x{{end}}", "00"),
        ("{{printf \"%v\" .Config.Cmd}} {{$x := .Config.Cmd}}{{$x}}", "[] []"),
        ("{{with .Config}}{{.Cmd}}{{json .Cmd}}{{end}}", "[]null"),
        ("{{range .NetworkSettings.Networks}}<{{.IPAddress}}>{{.Aliases}}{{end}}", "<>[]"),
        ("{{range $k, $v := .NetworkSettings.Networks}}{{$k}}{{$v.IPAddress}}{{end}}", "bridge"),
        ("{{.ID}} {{.Client.APIVersion}} {{.Client.ApiVersion}} {{.HostConfig.DNS}}", "abc none none []"),
    ];
    for (template, expected) in cases {
        assert_eq!(render(template, &data), expected, "{template}");
    }
    let left_out = json!({ "State": { "OOMKilled": false }, "Config": { "OnBuild": null } });
    for (template, expected) in [
        ("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}} {{.State.Health}}", "none <nil>"),
        ("[{{.Config.StopSignal}}] {{.Config.ArgsEscaped}} {{.Config.Shell}}", "[] false []"),
        ("{{.Config.ExposedPorts}} {{json .Config.ExposedPorts}}", "map[] null"),
        ("{{json .}}", "{\"State\":{\"OOMKilled\":false},\"Config\":{\"OnBuild\":null}}"),
    ] {
        assert_eq!(render(template, &left_out), expected, "{template}");
    }
    assert!(render("{{.Config.Health}}", &left_out).contains("there is no field Health"));
    let unknown = "error at 9..13: there is no field Usr; there are: User";
    assert!(render("{{.Config.Usr}}", &data).starts_with(unknown), "{}", render("{{.Config.Usr}}", &data));
}

#[test]
fn mistakes_are_named_at_their_place() {
    let cases = [
        (
            "{{.Repo}}",
            "error at 2..7: there is no field Repo; there are: Repository, Tag, Size, Layers, Count, Config, NetworkSettings",
        ),
        ("{{.Tag", "error at 0..2: this action is never closed with }}"),
        ("{{if .Tag}}x", "error at 2..4: this if has no {{end}}"),
        ("x{{end}}", "error at 3..6: there is no if, range or with to end"),
        ("{{.Tag.Sub}}", "error at 6..10: a string has no field Sub"),
        ("{{\"open}}", "error at 2..3: this string is never closed"),
        ("{{index .Layers 7}}", "error at 2..17: there is no item 7, the list has 2"),
        ("{{range .Tag}}{{end}}", "error at 8..12: range does not walk a string"),
        ("{{template \"x\"}}", "error at 2..10: template is not supported in --format yet"),
        ("{{$no}}", "error at 2..5: there is no variable $no"),
        ("{{.Tag .Size}}", "error at 2..12: only functions take arguments"),
        ("{{}}", "error at 2..4: expected a field, a function or a value here"),
    ];
    for (template, expected) in cases {
        assert_eq!(render(template, &image()), expected, "{template}");
    }
    assert!(
        render("{{frobnicate .}}", &image()).contains("there is no function frobnicate; there are: and, eq")
    );
    let deep = format!("{{{{{}}}}}", "(".repeat(1000));
    assert!(render(&deep, &image()).ends_with("nested more than 64 deep"));
}

/// Pieces that make up templates, so that random ones get past the lexer.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "{{", "}}", "{{-", "-}}", " ", ".", ".Tag", ".Config", "$x", ":=", "|", "(", ")", "if", "else",
        "end", "range", "with", "json", "index", "printf", "\"%5s\"", "0", "99", "-1", "`", "'", "text", "é",
        "/*", "*/", ",",
    ];
    prop_oneof![proptest::sample::select(words.to_vec()).prop_map(str::to_owned), ".{0,3}"]
}

proptest! {
    #[test]
    fn no_template_panics(pieces in proptest::collection::vec(piece(), 0..24)) {
        drop(render(&pieces.concat(), &image()));
    }

    #[test]
    fn text_without_actions_stays(text in "[^{]*") {
        prop_assert_eq!(render(&text, &Value::Null), text);
    }

    #[test]
    fn json_comes_back(text in ".*", number in any::<i64>()) {
        let data = json!({ "text": text, "list": [number] });
        prop_assert_eq!(serde_json::from_str::<Value>(&render("{{json .}}", &data)).unwrap(), data);
    }
}
