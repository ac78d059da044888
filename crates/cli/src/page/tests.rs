use super::*;
use crate::story::tests::{events, head, story};

/// Names that want to be more than text.
const HOSTILE: [&str; 6] = [
    "RUN </script><script>alert(1)</script>",
    "RUN '\"><img src=x onerror=alert(1)>",
    "RUN \u{1b}[31mred\u{7}\u{0}\u{202e}drow",
    "RUN <!-- --!> ]]> &lt; &#x3c;",
    "RUN javascript:alert(1) </style></title></pre>",
    "RUN `${alert(1)}` \\u003cscript\\u003e",
];

fn page_of(name: &str, output: &[u8]) -> String {
    let model = Model::new(&story(events(name, output)));
    let head = Head { context: name.to_owned(), names: vec![name.to_owned()], ..head() }.completed(&model);
    page(&head, &model, None)
}

/// The tags of a page in order, without those in scripts and styles.
fn tags(page: &str) -> Vec<String> {
    let start = page.find("</style>").unwrap();
    let end = page.rfind("<script>").unwrap();
    let pieces = page[start..end].split('<').skip(1);
    pieces.map(|piece| piece.split(['>', ' ', '\n']).next().unwrap().to_owned()).collect()
}

#[test]
fn foreign_text_changes_no_tag() {
    let plain = page_of("RUN plain words", b"plain words\n");
    for hostile in HOSTILE {
        let page = page_of(hostile, hostile.as_bytes());
        assert_eq!(tags(&page), tags(&plain), "{hostile}");
        assert_eq!(page.matches("<script").count(), 1, "{hostile}");
        assert!(!page.contains("onerror=alert(1)>"), "{hostile}");
        assert!(!page.chars().any(|c| c.is_control() && c != '\n'), "{hostile}");
    }
    let page = page_of("RUN x", b"\xff\xfe bytes \xf0\x28\n");
    assert!(page.contains("\u{fffd}\u{fffd} bytes"), "{page}");
}

#[test]
fn nothing_but_its_own_script_and_style_may_run() {
    let page = page_of("RUN x", b"");
    assert!(page.contains("default-src 'none'"));
    for (tag, text) in [("script", SCRIPT), ("style", STYLE)] {
        assert!(page.contains(&format!("{tag}-src 'sha256-{}'", digest(text))), "{tag}");
        assert!(page.contains(&format!("<{tag}>{text}</{tag}>")), "{tag}");
    }
    let markup = tags(&page).concat();
    assert!(!markup.contains("link") && !page.contains(" style=") && !page.contains(" onclick"), "inline");
    assert!(!page.contains("http://") && !page.contains("https://"), "nothing from elsewhere");
    assert!(STYLE.len() + SCRIPT.len() < 40_000);
}

#[test]
fn it_says_what_happened_and_why() {
    let page = page_of("RUN x", b"a line\n10%\r100%\n");
    for expected in [
        "<strong>variable VERSION</strong>, <strong>the instruction</strong>",
        "it was <code>RUN &lt;old&gt; &amp; &quot;it&quot;</code>",
        "no earlier build of this Dockerfile is remembered",
        "the last build had no such step",
        "a line\n100%</pre>",
        "read the build context .: 3 files",
        "fetched from example.com/base: 1 blob",
        "<strong>FromAsCasing</strong>",
        "<dt>Executed</dt><dd>4<small>of 5 steps",
        "2023-11-14 22:13:20 UTC",
    ] {
        assert!(page.contains(expected), "{expected}\n{page}");
    }
    assert_eq!(page.matches("class=\"node").count(), 3, "stages");
    let edges = page.split("<path class=\"edge").skip(1);
    let begins: Vec<_> = edges.map(|edge| edge.split("d=\"M").nth(1).unwrap().split(' ').next()).collect();
    assert_eq!(begins.len(), 2, "what stages need, directly");
    assert_eq!(begins[0], begins[1], "stages of one base stand beside each other");
}

#[test]
fn ids_are_there_once_and_links_lead_somewhere() {
    let page = page_of("RUN x", b"");
    let between = |mark: &str| -> Vec<String> {
        let pieces = page.split(mark).skip(1);
        pieces.map(|piece| piece.split('"').next().unwrap().to_owned()).collect()
    };
    let ids = between(" id=\"");
    let unique: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(ids.len(), unique.len());
    for link in between("href=\"#").iter().chain(&between("aria-labelledby=\"")) {
        assert!(ids.contains(link), "{link}");
    }
}

#[test]
fn a_build_without_anything_is_a_page_too() {
    let page = page(&Head::default(), &Model::default(), None);
    assert!(page.contains("<h1>a build</h1>") && page.ends_with("</html>\n"));
}
