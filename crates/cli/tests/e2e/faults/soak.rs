//! Builders and prunes at once, as processes of their own: nobody fails, and every image is what it is alone.

use super::{super::Kitchen, writes, *};

const BUILDERS: usize = 8;

/// Dockerfiles that share some of their steps, so that builders meet.
fn dockerfile(number: usize) -> String {
    let (base, middle) = (number % 3, number % 5);
    format!(
        "FROM busybox\nCOPY data{base} /data\nRUN echo {middle} > /middle && cp /data /again\nRUN echo {number} > /n\n"
    )
}

/// Builds, or prunes, until `end`; how often.
fn work(kitchen: &Kitchen, worker: usize, expected: &[String], end: Instant) -> usize {
    let mut round = 0;
    while Instant::now() < end || round == 0 {
        round += 1;
        if worker >= BUILDERS {
            let everything = ["system", "prune", "-af"];
            let cache = ["builder", "prune", "-af"];
            kitchen.galley(if round % 2 == worker % 2 { &everything } else { &cache });
            continue;
        }
        let number = (worker + round * 3) % expected.len();
        let (file, tag) = (format!("Dockerfile.{number}"), format!("w{worker}"));
        let archive = kitchen.path(&format!("w{worker}.tar"));
        let oci = format!("type=oci,dest={}", archive.display());
        let outputs = ["-o", "type=image", "-o", &oci];
        let build = [&["--reproducible", "-f", &file, "-t", &tag][..], &outputs, &["."]].concat();
        kitchen.build(&build);
        let found = digest(&archive);
        assert_eq!(found, expected[number], "another image, worker {worker}, round {round}");
    }
    round
}

fn digest(archive: &Path) -> String {
    // The name in the archive is the worker's.
    let files = super::super::read_tar(&fs::read(archive).unwrap());
    let blobs: Vec<&String> = files.keys().filter(|name| name.starts_with("blobs/sha256/")).collect();
    blobs.into_iter().map(String::as_str).collect::<Vec<_>>().join("\n")
}

fn expected(kitchen: &Kitchen) -> Vec<String> {
    (0..3).for_each(|number| kitchen.env.write(&format!("data{number}"), noise(number, 50_000)));
    kitchen.env.write(".dockerignore", "Dockerfile*");
    let one = |number: usize| {
        let (file, archive) = (format!("Dockerfile.{number}"), kitchen.path("alone.tar"));
        kitchen.env.write(&file, dockerfile(number));
        let oci = format!("type=oci,dest={}", archive.display());
        kitchen.build(&["--reproducible", "-f", &file, "-t", "alone", "-o", &oci, "."]);
        digest(&archive)
    };
    (0..7).map(one).collect()
}

#[test]
fn eight_builders_and_two_prunes() {
    let Some(kitchen) = Kitchen::new() else { return };
    let expected = expected(&kitchen);
    // `make soak` takes longer.
    let seconds = std::env::var("GALLEY_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let rounds: Vec<usize> = thread::scope(|scope| {
        let start = |worker| {
            let (kitchen, expected) = (&kitchen, &expected);
            scope.spawn(move || work(kitchen, worker, expected, end))
        };
        let workers: Vec<_> = (0..BUILDERS + 2).map(start).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(leftovers(&kitchen), Vec::<String>::new());
    writes::sound(&kitchen, "after all").unwrap();
    assert_eq!(temporary(&kitchen), BTreeSet::new());
    let (builds, prunes) = rounds.split_at(BUILDERS);
    let sum = |rounds: &[usize]| rounds.iter().sum::<usize>();
    eprintln!("{} builds beside {} prunes in {seconds} s, lost: 0", sum(builds), sum(prunes));
}
