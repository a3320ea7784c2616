//! The arrows between the crates: the permitted dependencies of each, and those it must never
//! reach.
//!
//! ARCHITECTURE.md says why. A new dependency is a decision: it takes a line here.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, TargetKind};

/// The permitted dependencies of one crate.
struct Rule {
    name: &'static str,
    /// All crates that may be its direct normal dependencies.
    normal: &'static [&'static str],
    /// Those of `normal` for which the crate may request no feature, default ones included.
    featureless: &'static [&'static str],
    /// Crates that must not be anywhere in the tree of its normal dependencies.
    never: &'static [&'static str],
}

/// Stands for all crates: a program that only measures may depend on any.
const ANY: &str = "any";

/// Crates that no published crate may reach.
const NEVER_AT_ALL: [&str; 3] = ["prost-build", "protox", "xtask"];

const RULES: [Rule; 10] = [
    Rule {
        name: "castore-core",
        normal: &[
            "async-trait",
            "blake3",
            "bytes",
            "futures-core",
            "futures-util",
            "thiserror",
            "tokio",
        ],
        featureless: &["tokio"],
        never: &[
            "anyhow",
            "castore-chunker",
            "castore-proto",
            "clap",
            "fastcdc",
            "gearhash",
            "object_store",
            "prost",
            "tokio-util",
            "tracing",
            "zstd",
        ],
    },
    Rule {
        name: "castore-chunker",
        normal: &["bytes", "fastcdc", "gearhash", "thiserror"],
        featureless: &["fastcdc"],
        never: &[
            "async-trait",
            "blake3",
            "castore-core",
            "futures",
            "futures-core",
            "futures-io",
            "futures-util",
            "tokio",
        ],
    },
    Rule {
        name: "castore-proto",
        normal: &["bytes", "castore-core", "prost", "thiserror"],
        featureless: &[],
        never: &["castore-chunker", "clap", "object_store", "tracing", "zstd"],
    },
    Rule {
        name: "castore-objstore",
        normal: &[
            "async-trait",
            "blake3",
            "bytes",
            "castore-chunker",
            "castore-core",
            "castore-proto",
            "futures-core",
            "futures-util",
            "object_store",
            "quick_cache",
            "nix",
            "rustix",
            "thiserror",
            "tokio",
            "tracing",
            "url",
            "zstd",
        ],
        featureless: &[],
        never: &["castore-testsuite", "clap", "indicatif", "tracing-subscriber"],
    },
    Rule {
        name: "castore-testsuite",
        normal: &[
            "async-trait",
            "blake3",
            "bytes",
            "castore-core",
            // Only with the feature `bench`; clap comes with it.
            "criterion",
            "futures-util",
            "tokio",
        ],
        featureless: &[],
        never: &[
            "castore-chunker",
            "castore-objstore",
            "castore-proto",
            "object_store",
            "prost",
            "zstd",
        ],
    },
    Rule {
        name: "castore-http",
        normal: &["axum", "base64", "bytes", "castore-core", "futures-util"],
        featureless: &[],
        never: &[
            "anyhow",
            "castore-chunker",
            "castore-objstore",
            "castore-proto",
            "castore-testsuite",
            "clap",
            "object_store",
            "prost",
            "zstd",
        ],
    },
    Rule {
        name: "castore-cli",
        normal: &[
            "anstream",
            "anyhow",
            "blake3",
            "bytes",
            "bytesize",
            "castore-chunker",
            "castore-core",
            "castore-objstore",
            "castore-proto",
            "castore-testsuite",
            "clap",
            "clap_complete",
            "etcetera",
            "futures-util",
            "indicatif",
            "rustix",
            "serde_json",
            "tempfile",
            "tokio",
            "tracing-subscriber",
            "url",
        ],
        featureless: &[],
        never: &[],
    },
    Rule {
        name: "xtask",
        normal: &["anyhow", "blake3", "cargo_metadata", "prost-build", "protox"],
        featureless: &[],
        never: &["clap"],
    },
    Rule { name: "castore-bench", normal: &[ANY], featureless: &[], never: &[] },
    Rule { name: "castore-fuzz", normal: &[ANY], featureless: &[], never: &[] },
];

/// The checked facts about a crate of the workspace.
#[derive(Default)]
struct Crate {
    name: String,
    /// The direct normal dependencies; `true` if the crate requests any feature.
    normal: BTreeMap<String, bool>,
    /// All crates in the tree of its normal dependencies.
    reached: BTreeSet<String>,
    has_build_script: bool,
}

pub(super) fn check(metadata: &Metadata) -> Vec<String> {
    let crates = crates(metadata);
    let mut violations: Vec<String> =
        crates.iter().flat_map(|checked| check_crate(checked, &RULES)).collect();
    for rule in &RULES {
        if !crates.iter().any(|found| found.name == rule.name) {
            violations.push(format!("{}: there is a rule for it, but no such crate", rule.name));
        }
    }
    violations
}

fn check_crate(checked: &Crate, rules: &[Rule]) -> Vec<String> {
    let name = &checked.name;
    let Some(rule) = rules.iter().find(|rule| rule.name == name) else {
        return vec![format!("{name}: no rule says what it may depend on")];
    };
    let mut violations = Vec::new();
    for (dependency, has_features) in &checked.normal {
        if !rule.normal.contains(&ANY) && !rule.normal.contains(&dependency.as_str()) {
            violations.push(format!("{name}: must not depend on {dependency}"));
        }
        if *has_features && rule.featureless.contains(&dependency.as_str()) {
            violations.push(format!("{name}: must not ask for features of {dependency}"));
        }
    }
    let at_all = if name == "xtask" { &[][..] } else { &NEVER_AT_ALL };
    for never in rule.never.iter().chain(at_all) {
        if checked.reached.contains(*never) {
            violations.push(format!("{name}: must not reach {never}, not even indirectly"));
        }
    }
    if checked.has_build_script {
        violations.push(format!("{name}: must not have a build script"));
    }
    violations
}

/// The crates of the workspace.
///
/// cargo resolves the features of the whole workspace together, so a tree may hold a dependency
/// that a crate alone would not have; it never lacks one.
fn crates(metadata: &Metadata) -> Vec<Crate> {
    let names: BTreeMap<_, _> =
        metadata.packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
    let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    let graph: BTreeMap<_, Vec<_>> = nodes
        .map(|node| {
            let normal = node.deps.iter().filter(|dependency| {
                dependency.dep_kinds.iter().any(|info| info.kind == DependencyKind::Normal)
            });
            (&node.id, normal.map(|dependency| &dependency.pkg).collect())
        })
        .collect();
    let workspace = metadata.workspace_packages().into_iter();
    workspace
        .map(|package| {
            let dependencies = package.dependencies.iter();
            let normal = dependencies.filter(|found| found.kind == DependencyKind::Normal);
            Crate {
                name: package.name.to_string(),
                normal: normal
                    .map(|found| {
                        let has_features =
                            found.uses_default_features || !found.features.is_empty();
                        (found.name.clone(), has_features)
                    })
                    .collect(),
                reached: reached(&graph, &package.id)
                    .into_iter()
                    .filter_map(|id| names.get(id).map(|name| (*name).to_owned()))
                    .collect(),
                has_build_script: package
                    .targets
                    .iter()
                    .any(|target| target.kind.contains(&TargetKind::CustomBuild)),
            }
        })
        .collect()
}

/// All nodes to which arrows lead from `start`.
fn reached<T: Ord + Copy>(graph: &BTreeMap<T, Vec<T>>, start: T) -> BTreeSet<T> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(node) = open.pop() {
        for next in graph.get(&node).into_iter().flatten() {
            if reached.insert(*next) {
                open.push(*next);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule {
        name: "core",
        normal: &["bytes", "tokio"],
        featureless: &["tokio"],
        never: &["prost"],
    };

    /// A crate that obeys the rule.
    fn good() -> Crate {
        Crate {
            name: "core".into(),
            normal: [("bytes".into(), true), ("tokio".into(), false)].into(),
            reached: ["bytes".into(), "tokio".into(), "pin-project-lite".into()].into(),
            has_build_script: false,
        }
    }

    fn checked(change: impl FnOnce(&mut Crate)) -> Vec<String> {
        let mut changed = good();
        change(&mut changed);
        check_crate(&changed, &[RULE])
    }

    #[test]
    fn a_crate_that_obeys_is_not_reported() {
        assert_eq!(checked(|_| {}), [""; 0]);
    }

    #[test]
    fn a_crate_without_a_rule_is_reported() {
        let violations = checked(|good| good.name = "new".into());
        assert_eq!(violations, ["new: no rule says what it may depend on"]);
    }

    #[test]
    fn a_new_dependency_is_reported() {
        let violations = checked(|good| good.normal.extend([("clap".into(), false)]));
        assert_eq!(violations, ["core: must not depend on clap"]);
    }

    #[test]
    fn any_dependency_is_allowed_where_the_rule_says_so() {
        let rule = Rule { normal: &[ANY], ..RULE };
        let mut checked = good();
        checked.normal.extend([("clap".into(), true)]);
        assert_eq!(check_crate(&checked, &[rule]), [""; 0]);
    }

    #[test]
    fn a_feature_is_reported() {
        let violations = checked(|good| good.normal.extend([("tokio".into(), true)]));
        assert_eq!(violations, ["core: must not ask for features of tokio"]);
    }

    #[test]
    fn a_reached_crate_that_is_banned_is_reported() {
        let violations = checked(|good| good.reached.extend(["prost".into(), "xtask".into()]));
        assert_eq!(
            violations,
            [
                "core: must not reach prost, not even indirectly",
                "core: must not reach xtask, not even indirectly"
            ]
        );
    }

    #[test]
    fn a_build_script_is_reported() {
        let violations = checked(|good| good.has_build_script = true);
        assert_eq!(violations, ["core: must not have a build script"]);
    }

    #[test]
    fn the_reached_crates_are_those_below() {
        let graph = [("a", vec!["b", "c"]), ("b", vec!["d"]), ("d", vec!["b"]), ("e", vec!["a"])];
        let graph = BTreeMap::from(graph);
        assert_eq!(reached(&graph, "a"), ["b", "c", "d"].into());
        assert_eq!(reached(&graph, "b"), ["b", "d"].into());
        assert_eq!(reached(&graph, "c"), [].into());
    }

    #[test]
    fn the_workspace_is_read_as_it_is() {
        let metadata = cargo_metadata::MetadataCommand::new().exec().unwrap();
        let crates = crates(&metadata);
        let xtask = crates.iter().find(|found| found.name == "xtask").unwrap();
        assert!(xtask.normal.contains_key("protox"));
        assert!(xtask.reached.contains("prost"), "indirectly");
        assert!(!xtask.has_build_script);
        let proto = crates.iter().find(|found| found.name == "castore-proto").unwrap();
        assert_eq!(proto.normal.get("prost"), Some(&true));
        assert!(!proto.normal.contains_key("proptest"), "dev-dependencies do not count");
    }
}
