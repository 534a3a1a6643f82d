"""Small catalogues in the layouts of MITRE's public schemas: CWE 4.x (cwe-7) and CAPEC 3.9 (capec-3)."""

CWE_XML = """<?xml version="1.0" encoding="UTF-8"?>
<Weakness_Catalog Name="CWE" Version="4.16" Date="2024-11-19" xmlns="http://cwe.mitre.org/cwe-7"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:schemaLocation="http://cwe.mitre.org/cwe-7 http://cwe.mitre.org/data/xsd/cwe_schema_v7.2.xsd"
  xmlns:xhtml="http://www.w3.org/1999/xhtml">
   <Weaknesses>
      <Weakness ID="22" Name="Path Traversal: &apos;../&apos; &amp; kin" Abstraction="Base" Structure="Simple" Status="Stable">
         <Description>The product uses external input to construct a pathname, but does not neutralize special elements.</Description>
         <Extended_Description>
            <xhtml:p>Many file operations take place within a restricted directory.</xhtml:p>
            <xhtml:p>There are several forms:</xhtml:p>
            <xhtml:ul>
               <xhtml:li>relative paths</xhtml:li>
               <xhtml:li>absolute paths</xhtml:li>
            </xhtml:ul>
         </Extended_Description>
         <Related_Weaknesses>
            <Related_Weakness Nature="ChildOf" CWE_ID="706" View_ID="1000" Ordinal="Primary"/>
            <Related_Weakness Nature="CanPrecede" CWE_ID="20" View_ID="1000"/>
         </Related_Weaknesses>
         <Weakness_Ordinalities>
            <Weakness_Ordinality><Ordinality>Primary</Ordinality></Weakness_Ordinality>
         </Weakness_Ordinalities>
         <Applicable_Platforms>
            <Language Class="Not Language-Specific" Prevalence="Undetermined"/>
            <Technology Name="Web Server" Prevalence="Often"/>
         </Applicable_Platforms>
         <Alternate_Terms>
            <Alternate_Term>
               <Term>Directory traversal</Term>
               <Description>An older name.</Description>
            </Alternate_Term>
         </Alternate_Terms>
         <Modes_Of_Introduction>
            <Introduction><Phase>Implementation</Phase><Note>Made when a path is joined.</Note></Introduction>
         </Modes_Of_Introduction>
         <Likelihood_Of_Exploit>High</Likelihood_Of_Exploit>
         <Common_Consequences>
            <Consequence>
               <Scope>Confidentiality</Scope>
               <Scope>Integrity</Scope>
               <Impact>Read Files or Directories</Impact>
               <Note>The attacker may read what is outside.</Note>
            </Consequence>
         </Common_Consequences>
         <Detection_Methods>
            <Detection_Method Detection_Method_ID="DM-1">
               <Method>Automated Static Analysis</Method>
               <Description><xhtml:p>Tools find most of it.</xhtml:p></Description>
               <Effectiveness>High</Effectiveness>
            </Detection_Method>
         </Detection_Methods>
         <Potential_Mitigations>
            <Mitigation Mitigation_ID="MIT-5.1">
               <Phase>Implementation</Phase>
               <Phase>Operation</Phase>
               <Strategy>Input Validation</Strategy>
               <Description><xhtml:p>Assume all input is malicious.</xhtml:p><xhtml:p>Canonicalise first.</xhtml:p></Description>
            </Mitigation>
         </Potential_Mitigations>
         <Demonstrative_Examples>
            <Demonstrative_Example Demonstrative_Example_ID="DX-27">
               <Intro_Text>This code reads a profile.</Intro_Text>
               <Example_Code Nature="Bad" Language="Perl">
                  <xhtml:div>my $dataPath = "/users/profiles";<xhtml:br/>
                     open(my $fh, "&lt;$path") || die;<xhtml:br/>
                     while (&lt;$fh&gt;) {<xhtml:div style="margin-left:1em">print "&lt;li&gt;$_&lt;/li&gt;\\n";</xhtml:div>}
                  </xhtml:div>
               </Example_Code>
               <Body_Text>An attacker could give:</Body_Text>
               <Example_Code Nature="Attack">
                  <xhtml:div>../../../etc/passwd</xhtml:div>
               </Example_Code>
            </Demonstrative_Example>
         </Demonstrative_Examples>
         <Observed_Examples>
            <Observed_Example>
               <Reference>CVE-2024-37032</Reference>
               <Description>Large language model tool does not validate a digest.</Description>
               <Link>https://www.cve.org/CVERecord?id=CVE-2024-37032</Link>
            </Observed_Example>
         </Observed_Examples>
         <Related_Attack_Patterns>
            <Related_Attack_Pattern CAPEC_ID="126"/>
            <Related_Attack_Pattern CAPEC_ID="64"/>
         </Related_Attack_Patterns>
         <Notes><Note Type="Relationship">Pathname equivalence can be seen as a kind of it.</Note></Notes>
         <Content_History>
            <Submission><Submission_Name>PLOVER</Submission_Name><Submission_Date>2006-07-19</Submission_Date></Submission>
            <Modification><Modification_Name>CWE Content Team</Modification_Name>
               <Modification_Date>2024-11-19</Modification_Date></Modification>
         </Content_History>
      </Weakness>
      <Weakness ID="1" Name="DEPRECATED: Location" Abstraction="Base" Structure="Simple" Status="Deprecated">
         <Description>This entry has been deprecated.</Description>
      </Weakness>
   </Weaknesses>
   <Categories>
      <Category ID="1219" Name="File Handling Issues" Status="Draft">
         <Summary>Weaknesses in this category are related to the handling of files.</Summary>
         <Relationships>
            <Has_Member CWE_ID="22" View_ID="699"/>
            <Has_Member CWE_ID="41" View_ID="699"/>
         </Relationships>
         <Content_History>
            <Submission><Submission_Name>Team</Submission_Name><Submission_Date>2020-01-15</Submission_Date></Submission>
         </Content_History>
      </Category>
   </Categories>
   <External_References>
      <External_Reference Reference_ID="REF-1"><Title>A book</Title></External_Reference>
   </External_References>
</Weakness_Catalog>
"""

CAPEC_XML = """<?xml version="1.0" encoding="utf-8"?>
<Attack_Pattern_Catalog xmlns="http://capec.mitre.org/capec-3" xmlns:xhtml="http://www.w3.org/1999/xhtml"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" Name="CAPEC" Version="3.9" Date="2023-01-24"
  xsi:schemaLocation="http://capec.mitre.org/capec-3 http://capec.mitre.org/data/xsd/ap_schema_v3.5.xsd">
   <Attack_Patterns>
      <Attack_Pattern ID="66" Name="SQL Injection" Abstraction="Standard" Status="Draft">
         <Description>This attack exploits target software that constructs SQL statements based on user input.</Description>
         <Extended_Description><xhtml:p>It results from failure to validate input.</xhtml:p></Extended_Description>
         <Alternate_Terms><Alternate_Term><Term>SQLi</Term></Alternate_Term></Alternate_Terms>
         <Likelihood_Of_Attack>High</Likelihood_Of_Attack>
         <Typical_Severity>High</Typical_Severity>
         <Related_Attack_Patterns>
            <Related_Attack_Pattern Nature="ChildOf" CAPEC_ID="248"><Exclude_Related Exclude_ID="403"/></Related_Attack_Pattern>
         </Related_Attack_Patterns>
         <Execution_Flow>
            <Attack_Step>
               <Step>1</Step>
               <Phase>Explore</Phase>
               <Description>[Survey application] The attacker takes an inventory of the functionality.</Description>
               <Technique>Spider web sites for all available links</Technique>
               <Technique>Sniff network communications</Technique>
            </Attack_Step>
            <Attack_Step>
               <Step>2</Step>
               <Phase>Exploit</Phase>
               <Description>[Exploit SQL Injection vulnerability] The adversary refines the payload.</Description>
            </Attack_Step>
         </Execution_Flow>
         <Prerequisites><Prerequisite>SQL queries used by the application to store data.</Prerequisite></Prerequisites>
         <Skills_Required><Skill Level="Low">It is fairly simple for someone with basic SQL knowledge.</Skill></Skills_Required>
         <Resources_Required><Resource>None: No specialized resources are required.</Resource></Resources_Required>
         <Indicators><Indicator>Too many false or invalid queries to the database.</Indicator></Indicators>
         <Consequences>
            <Consequence><Scope>Integrity</Scope><Impact>Modify Data</Impact></Consequence>
            <Consequence><Scope>Confidentiality</Scope><Scope>Access Control</Scope><Impact>Gain Privileges</Impact></Consequence>
         </Consequences>
         <Mitigations>
            <Mitigation>Strong input validation.</Mitigation>
            <Mitigation><xhtml:p>Use of parameterized queries.</xhtml:p></Mitigation>
         </Mitigations>
         <Example_Instances><Example><xhtml:p>With PHP-Nuke, the "foo' or 1=1 --" input.</xhtml:p></Example></Example_Instances>
         <Related_Weaknesses><Related_Weakness CWE_ID="89"/><Related_Weakness CWE_ID="1286"/></Related_Weaknesses>
         <Taxonomy_Mappings>
            <Taxonomy_Mapping Taxonomy_Name="WASC"><Entry_ID>19</Entry_ID><Entry_Name>SQL Injection</Entry_Name></Taxonomy_Mapping>
         </Taxonomy_Mappings>
         <References><Reference External_Reference_ID="REF-607"/></References>
         <Content_History>
            <Submission><Submission_Name>CAPEC Content Team</Submission_Name><Submission_Date>2014-06-23</Submission_Date></Submission>
            <Modification><Modification_Name>Team</Modification_Name><Modification_Date>2022-09-29</Modification_Date></Modification>
         </Content_History>
      </Attack_Pattern>
      <Attack_Pattern ID="82" Name="DEPRECATED: Violating" Abstraction="Meta" Status="Deprecated">
         <Description>This attack pattern has been deprecated.</Description>
      </Attack_Pattern>
   </Attack_Patterns>
</Attack_Pattern_Catalog>
"""
