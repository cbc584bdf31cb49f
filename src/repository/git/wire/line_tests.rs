//! The two ends of a line without a server.

use super::*;
use std::io::Write;

fn terms(stall: Duration) -> Terms {
    Terms {
        location: "there".to_owned(),
        connect_timeout: Duration::from_secs(60),
        stall_timeout: stall,
        cancel: Cancel::new(),
    }
}

const LONG: Duration = Duration::from_secs(3_600);

fn body(head: &[u8]) -> Body {
    Body { head: head.to_vec(), file: None }
}

/// Says nothing, and keeps its end.
async fn hang(kept: Duct) -> Result<Ended, RepositoryError> {
    kept.sends.ready();
    std::future::pending().await
}

#[test]
fn an_answer_comes_in_order_and_in_bounded_memory() {
    let mut line = Line::open(&terms(LONG), |duct| async move {
        let asked = duct.body.await.unwrap();
        assert_eq!(asked.head, b"question");
        let mut most = 0;
        for number in 0..64u8 {
            assert!(duct.sends.put(Bytes::from(vec![number; 256 << 10])).await);
            most = most.max(AHEAD - duct.sends.room.available_permits());
        }
        assert!(most <= AHEAD);
        Ok(Ended { words: "done".to_owned(), absent: false })
    })
    .unwrap();
    line.send(body(b"question"));
    let mut heard = Vec::new();
    line.incoming.read_to_end(&mut heard).unwrap();
    assert_eq!(heard.len(), 64 * (256 << 10));
    assert!(heard.chunks(256 << 10).zip(0..).all(|(part, number)| part.iter().all(|byte| *byte == number)));
    assert_eq!(line.end().unwrap().words, "done");
}

#[test]
fn silence_and_a_wish_to_stop_end_it() {
    let mut line = Line::open(&terms(Duration::from_millis(50)), hang).unwrap();
    assert_eq!(line.incoming.read(&mut [0]).unwrap(), 0);
    let silence = line.end().unwrap_err();
    assert!(
        matches!(
            &silence,
            RepositoryError::Store(StoreError::Unreachable { obstacle: Obstacle::Silence, .. })
        ),
        "{silence}"
    );

    let line = Line::open(&terms(Duration::from_millis(50)), hang).unwrap();
    let silence = line.exchange(body(b""), "there", &mut |answer| {
        assert_eq!(answer.read(&mut [0]).unwrap(), 0);
        Err(trouble::temporary("there", "early"))
    });
    assert!(matches!(silence, Err(RepositoryError::Store(StoreError::Temporary { .. }))));

    let terms = terms(LONG);
    let mut line = Line::open(&terms, hang).unwrap();
    terms.cancel.cancel();
    assert_eq!(line.incoming.read(&mut [0]).unwrap(), 0);
    assert!(matches!(line.end(), Err(RepositoryError::Cancelled)));
}

#[test]
fn whoever_reads_no_more_is_not_waited_for() {
    let line = Line::open(&terms(LONG), |duct| async move {
        // More than there is room for.
        while duct.sends.put(Bytes::from(vec![0; AHEAD])).await {}
        Ok(Ended { words: "nobody reads".to_owned(), absent: false })
    })
    .unwrap();
    assert_eq!(line.end().unwrap().words, "nobody reads");
    // One that does not notice is left behind.
    let line = Line::open(&terms(LONG), hang).unwrap();
    assert_eq!(line.end().unwrap().words, "");
}

#[test]
fn what_the_server_said_explains_an_early_end() {
    let early = || trouble::temporary("there", "it ended");
    let ended = |words: &str| Ended { words: words.to_owned(), absent: false };
    assert!(ended("fatal: out of memory").explain(early(), "there").to_string().contains("out of memory"));
    let denied = ended("access denied").explain(early(), "there");
    assert!(matches!(denied, RepositoryError::Store(StoreError::Denied { .. })), "{denied}");
    assert!(ended("").explain(early(), "there").retryable());
    let other = ended("words").explain(RepositoryError::Cancelled, "there");
    assert!(matches!(other, RepositoryError::Cancelled));
}

#[test]
fn a_file_is_sent_from_its_start_to_its_end() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![7; PIECE + 1]).unwrap();
    let mut outgoing = Outgoing::of(Body { head: b"head".to_vec(), file: Some(file) }).unwrap();
    assert_eq!(outgoing.left(), u64::try_from(PIECE).unwrap() + 5);
    let mut sent = Vec::new();
    while let Some(piece) = outgoing.next().unwrap() {
        sent.push(piece.len());
    }
    assert_eq!(sent, [4, PIECE, 1]);
    assert_eq!(outgoing.left(), 0);
}
