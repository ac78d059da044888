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
