"""Jobs on Kubernetes, made from the suspended CronJobs of `k8s/`: submitted, waited for, read, deleted.

Knows nothing of what the jobs do. Only `pipeline.jobs.cli` is imported before a verb runs.
"""
