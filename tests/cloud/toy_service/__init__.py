"""A service that exists only here: it shows what a folder and a line add to the cloud.

A device publishes to ``$aws/things/<thing>/jobs/start-next``, which this cloud does not serve
otherwise; each request becomes a row, and ``GetPendingJobExecutions`` of AWS IoT Jobs lists them.
"""
