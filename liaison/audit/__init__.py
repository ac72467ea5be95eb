"""What an auditor gets and checks: bundles of a log, the events in them, and the report.

Above `liaison.tlog`, which knows trees and entries; nothing here knows agreements, groups or the
relay. The relay writes bundles with it, and the auditor's program reads them.
"""
