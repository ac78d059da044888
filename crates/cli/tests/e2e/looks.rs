//! What scripts ask of images and containers: `inspect -f`, `ps --filter`, with the templates that are everywhere.

use super::{Kitchen, by_chroot, succeeded};

fn kitchen() -> Option<Kitchen> {
    let kitchen = Kitchen::new()?;
    kitchen.dockerfile("FROM busybox\nCMD [\"true\"]\n");
    kitchen.build(&["-t", "app", "."]);
    Some(kitchen)
}

fn inspect(kitchen: &Kitchen, name: &str, format: &str) -> String {
    kitchen.galley(&["inspect", "-f", format, name]).trim_end_matches('\n').to_owned()
}

#[test]
fn an_image_has_all_fields_of_docker() {
    let Some(kitchen) = kitchen() else { return };
    for (format, expected) in [
        ("[{{.Config.User}}{{.Config.StopSignal}}{{.Parent}}]", "[]"),
        ("{{.Config.Entrypoint}} {{.Config.Cmd}} {{.Config.OnBuild}} {{.Config.Shell}}", "[] [true] [] []"),
        ("{{.Config.Labels}} {{.Config.ExposedPorts}} {{.Config.Volumes}}", "map[] map[] map[]"),
        (
            "{{json .Config.Entrypoint}} {{json .Config.Labels}} {{json .Config.Healthcheck}}",
            "null null null",
        ),
        ("[{{index .Config.Labels \"org.example\"}}]", "[]"),
        ("{{.GraphDriver.Name}} {{.Metadata.LastTagTime}}", "overlay 0001-01-01T00:00:00Z"),
    ] {
        assert_eq!(inspect(&kitchen, "app", format), expected, "{format}");
    }
    assert_eq!(inspect(&kitchen, "app", "{{.ID}}"), inspect(&kitchen, "app", "{{.Id}}"));
    let wrong = kitchen.command(&["inspect", "-f", "{{.Config.Usr}}", "app"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(125));
}

#[test]
fn a_container_has_all_fields_of_docker() {
    let Some(kitchen) = kitchen() else { return };
    let flags = ["--add-host", "db:10.0.0.1", "--ulimit", "nofile=100:200"];
    let id = kitchen.galley(&[&["create", "--name", "web"], &flags[..], &["app"]].concat());
    let short = &id[..12];
    for (format, expected) in [
        ("<{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}>", "<>"),
        ("{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}", "bridge"),
        ("<{{.NetworkSettings.IPAddress}}{{.NetworkSettings.Gateway}}>", "<>"),
        (
            "{{.HostConfig.Binds}} {{.HostConfig.LogConfig.Type}} {{.HostConfig.ShmSize}}",
            "[] json-file 67108864",
        ),
        (
            "{{.HostConfig.ExtraHosts}} {{json .HostConfig.Ulimits}}",
            "[db:10.0.0.1] [{\"Name\":\"nofile\",\"Hard\":200,\"Soft\":100}]",
        ),
        (
            "{{.HostConfig.NanoCpus}}{{.HostConfig.PidMode}} {{.HostConfig.IpcMode}} {{.HostConfig.PidsLimit}}",
            "0 private <nil>",
        ),
        ("<{{.HostConfig.Runtime}}{{.HostsPath}}{{.ResolvConfPath}}> {{.ExecIDs}}", "<> []"),
        ("{{.Config.Volumes}} <{{.Config.Domainname}}> {{.Config.AttachStdout}}", "map[] <> false"),
        ("{{.Driver}} {{.GraphDriver.Name}} {{.HostConfig.Mounts}}", "overlay overlay []"),
        ("{{if .State.Health}}{{.State.Health.Status}}{{else}}no check{{end}}", "no check"),
        ("{{.Config.Hostname}}", short),
    ] {
        assert_eq!(inspect(&kitchen, "web", format), expected, "{format}");
    }
    kitchen.galley(&["create", "--name", "named", "--hostname", "kitchen", "--network", "none", "app"]);
    let format = "{{.Config.Hostname}} {{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}";
    assert_eq!(inspect(&kitchen, "named", format), "kitchen none");
    if !by_chroot() {
        succeeded(kitchen.command(&["volume", "create", "data"]).output().unwrap());
        let mounts = ["-v", "data:/data:ro", "-v", "/tmp:/t", "-v", "/own"];
        kitchen.galley(&[&["create", "--name", "bound"], &mounts[..], &["app"]].concat());
        let format = "{{join .HostConfig.Binds \" \"}} {{json .Config.Volumes}}";
        assert_eq!(inspect(&kitchen, "bound", format), "data:/data:ro /tmp:/t {\"/own\":{}}");
    }
}

#[test]
fn sizes_of_containers_are_told() {
    let Some(kitchen) = kitchen() else { return };
    let script = "busybox head -c 4096 /dev/zero > /written";
    kitchen.galley(&["run", "--name", "web", "app", "sh", "-c", script]);
    for command in [&["inspect", "-s"][..], &["container", "inspect", "--size"]] {
        let format = ["-f", "{{.SizeRw}} {{.SizeRootFs}}", "web"];
        let said = kitchen.galley(&[command, &format[..]].concat());
        let (own, all) = said.trim().split_once(' ').unwrap();
        assert_eq!(own, "4096");
        assert!(all.parse::<u64>().unwrap() > 4096, "{all}");
    }
    let without = kitchen.command(&["inspect", "-f", "{{.SizeRw}}", "web"]).output().unwrap();
    assert_eq!(without.status.code(), Some(125));
}

/// The other signal ends it for good, as its own would.
#[test]
fn a_container_is_stopped_by_another_signal() {
    let Some(kitchen) = kitchen() else { return };
    let script =
        "trap 'echo int; exit 3' INT; trap 'echo term; exit 4' TERM; echo ready; while :; do sleep 0.1; done";
    kitchen.galley(&["run", "-d", "--name", "web", "--restart", "always", "app", "sh", "-c", script]);
    let wrote = |expected: &str| {
        let start = std::time::Instant::now();
        while kitchen.galley(&["logs", "web"]) != expected {
            assert!(start.elapsed().as_secs() < 600, "waited 600 s for {expected:?}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    wrote("ready\n");
    assert_eq!(kitchen.galley(&["stop", "-t", "600", "-s", "INT", "web"]), "web\n");
    let ended = "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}";
    assert_eq!(inspect(&kitchen, "web", ended), "exited 3 0");
    wrote("ready\nint\n");
    kitchen.galley(&["start", "web"]);
    wrote("ready\nint\nready\n");
    assert_eq!(kitchen.galley(&["restart", "-t", "600", "--signal", "2", "web"]), "web\n");
    wrote("ready\nint\nready\nint\nready\n");
    let wrong = kitchen.command(&["stop", "-s", "NOSUCH", "web"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(125));
    kitchen.galley(&["rm", "-f", "web"]);
}

/// The host name that is told is the one inside.
#[test]
fn the_host_name_is_the_containers() {
    let Some(kitchen) = kitchen() else { return };
    if by_chroot() {
        eprintln!("SKIPPED: by chroot there is one host name");
        return;
    }
    let said = kitchen.galley(&["run", "--name", "web", "app", "busybox", "hostname"]);
    assert_eq!(said.trim(), inspect(&kitchen, "web", "{{.Config.Hostname}}"));
}

/// `docker rm $(docker ps -aq --filter ancestor=…)`, and the like.
#[test]
fn containers_are_found_by_what_they_are_made_of() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.dockerfile("FROM app\nRUN echo x > /x\n");
    kitchen.build(&["-t", "above", "."]);
    // It has all layers of app, but is not made of it.
    kitchen.dockerfile("FROM busybox\nRUN echo y > /y\n");
    kitchen.build(&["-t", "beside", "."]);
    for (name, image) in [("one", "app"), ("two", "above"), ("three", "beside")] {
        kitchen.galley(&["create", "--name", name, image]);
    }
    let id = inspect(&kitchen, "above", "{{.Id}}");
    let short = format!("ancestor={}", &id["sha256:".len()..][..12]);
    let long = format!("ancestor={id}");
    for (filters, expected) in [
        (&["ancestor=above"][..], &["two"][..]),
        (&[&short], &["two"]),
        (&[&long], &["two"]),
        (&["ancestor=app:latest"], &["two", "one"]),
        (&["ancestor=above", "name=one"], &[]),
        (&["ancestor=nosuch"], &[]),
        (&["ancestor=nosuch", "ancestor=above"], &["two"]),
        (&["since=one"], &["three", "two"]),
        (&["before=three"], &["two", "one"]),
        (&["since=one", "before=three"], &["two"]),
        (&["name=one|three"], &["three", "one"]),
        (&["name=^t.*e$"], &["three"]),
        (&["name=t*"], &["three", "two", "one"]),
    ] {
        let filters = filters.iter().flat_map(|filter| ["--filter", filter]);
        let arguments: Vec<&str> =
            ["ps", "-a", "--format", "{{.Names}}"].into_iter().chain(filters).collect();
        assert_eq!(kitchen.galley(&arguments).lines().collect::<Vec<_>>(), expected, "{arguments:?}");
    }
    let lost = kitchen.command(&["ps", "-a", "--filter", "since=nosuch"]).output().unwrap();
    assert!(!lost.status.success());
}

#[test]
fn containers_are_found_by_their_ports() {
    let Some(kitchen) = kitchen() else { return };
    let publish = ["run", "-d", "--name", "web", "-p", "127.0.0.1::8080", "app", "busybox", "sleep", "1000"];
    kitchen.galley(&publish);
    let port = kitchen.galley(&["port", "web", "8080"]);
    let port = port.trim().rsplit(':').next().unwrap();
    let names = |filter: &str| kitchen.galley(&["ps", "--format", "{{.Names}}", "--filter", filter]);
    assert_eq!(names(&format!("publish={port}")), "web\n");
    assert_eq!(names("expose=8000-8080/tcp"), "web\n");
    assert_eq!(names("expose=8080/udp") + &names("expose=8081"), "");
    kitchen.galley(&["rm", "-f", "web"]);
}
