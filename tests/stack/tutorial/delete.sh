curl -s -X DELETE http://localhost:8001/api/cloud/jobs/JOB_ID | jq
