//! Every store that the suite runs on is fit for castore according to `doctor`.

use castore_objstore::doctor::{Doctor, DoctorOptions, DoctorReport, Operation, Verdict};
use libtest_mimic::{Completion, Trial};

use crate::Make;
use crate::backend::Backend;

/// Examines the store through a service, built as a user would build it, and through the plain
/// object store.
pub(crate) fn trials<B: Backend>(name: &str, make: impl Make<B>) -> Vec<Trial> {
    vec![Trial::ignorable_test(format!("{name}::doctor::the_store_is_fit"), move || {
        let backend = match make() {
            Ok(backend) => backend,
            Err(missing) => return missing.outcome(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let service = backend.builder().build().expect("a service");
            let any = Doctor::of_store(backend.store(), backend.base_path()).expect("a doctor");
            for doctor in [service.doctor(), any] {
                let report =
                    doctor.examine(&DoctorOptions::default(), &()).await.expect("a report");
                check(&report);
            }
        });
        Ok(Completion::Completed)
    })]
}

fn check(report: &DoctorReport) {
    for operation in Operation::ALL {
        assert!(report.is_fit(operation), "{report}");
    }
    let known = |verdict: &Verdict| matches!(verdict, Verdict::Passed(_) | Verdict::Failed(_));
    assert!(report.checks.iter().all(|check| known(&check.verdict)), "{report}");
    assert_eq!(report.left, [""; 0], "{report}");
}
