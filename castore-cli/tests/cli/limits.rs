//! A system with low limits: open files, threads, the size of files.

use std::io::Write;
use std::process::Stdio;

use crate::support::{Place, noise, ran};

#[test]
fn as_many_files_may_be_open_as_the_system_allows() {
    let place = Place::new();
    let script = ["sh", "-c", "ulimit -Sn 40; ulimit -Hn 2000; exec \"$@\"", "sh"];
    let mut child =
        place.through(&script, &["-q", "put", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&noise(8 << 20, 1)).unwrap();
    while place.objects().len() < 5 {
        std::thread::yield_now();
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    drop(stdin);
    assert_eq!(ran(&child.wait_with_output().unwrap()).code, 0);
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let fields: Vec<&str> = files.split_whitespace().collect();
    assert_eq!(fields[3..5], ["2000", "2000"]);
}

#[test]
fn a_system_without_more_threads_is_said_to_be_one() {
    let place = Place::new();
    let digest = place.write("in", &noise(3_000_000, 1)).to_string();
    place.ok(&["-q", "put", "in"]);
    std::fs::set_permissions(place.path("."), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .unwrap();
    let user = ["setpriv", "--reuid=54324", "--regid=54324", "--clear-groups"];
    let is_root =
        place.through(&user, &["--version"]).output().is_ok_and(|run| run.status.success());
    let (mut failed, mut ended_well) = (0, 0);
    for threads in [1, 2, 3, 5, 8, 13, 400] {
        let limit = format!("--nproc={threads}:{threads}");
        let limit = ["prlimit", &limit];
        let through = match is_root {
            true => [&user[..], &limit].concat(),
            // The user's other processes count too, so only a limit of 1 has a certain effect.
            false if threads == 1 => limit.to_vec(),
            false => break,
        };
        let mut command = place.through(&through, &["get", &digest, "-f", "-o", "out"]);
        let get = ran(&command.output().unwrap());
        match get.code {
            0 => ended_well += 1,
            code => {
                failed += 1;
                assert_eq!((code, get.stderr.lines().count()), (1, 1), "{threads}: {get:?}");
                assert!(get.stderr.contains("no more threads"), "{threads}: {get:?}");
            }
        }
    }
    assert!(failed > 0 && (ended_well > 0 || !is_root), "{failed} {ended_well}");
}

#[test]
fn a_file_that_may_not_get_so_large_is_a_failure_that_leaves_nothing() {
    let place = Place::new();
    let digest = place.write("in", &noise(3_000_000, 1)).to_string();
    place.ok(&["-q", "put", "in"]);
    let script = ["sh", "-c", "ulimit -f 1000; exec \"$@\"", "sh"];
    let get = ran(&place.through(&script, &["get", &digest, "-o", "out"]).output().unwrap());
    assert_eq!((get.code, get.stderr.as_str()), (1, "castore: out: File too large\n"));
    assert_eq!(place.names("."), ["in", "store"]);
}
