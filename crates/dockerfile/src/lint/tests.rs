use std::collections::BTreeSet;

use super::{Edit, Fix, docker, rules};
use crate::Span;

#[test]
fn rules_have_names_of_their_own() {
    let names: BTreeSet<_> = rules().map(|rule| rule.name).collect();
    assert_eq!(names.len(), rules().count());
    assert!(rules().all(|rule| !rule.description.ends_with('.')));
}

#[test]
fn pages_of_docker() {
    let page = |url: Option<String>| url.unwrap().rsplit('/').nth(1).unwrap().to_owned();
    assert_eq!(page(docker::JSON_ARGS_RECOMMENDED.url()), "json-args-recommended");
    assert_eq!(page(docker::FROM_AS_CASING.url()), "from-as-casing");
    assert_eq!(docker::INVALID_BASE_IMAGE_PLATFORM.url(), None);
}

#[test]
fn a_fix_edits_from_the_front_to_the_back() {
    let edit = |start, end, text: &str| Edit { span: Span::new(start, end), text: text.to_owned() };
    let fix = |edits| Fix { edits, note: String::new(), safe: true };
    let two = fix(vec![edit(5, 6, "B"), edit(0, 4, "RUN")]);
    assert_eq!(two.apply("from a\n").as_deref(), Some("RUN B\n"));
    assert_eq!(fix(vec![edit(0, 2, ""), edit(1, 3, "")]).apply("abc"), None);
    assert_eq!(fix(vec![edit(0, 9, "")]).apply("abc"), None);
}
